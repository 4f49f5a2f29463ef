"""What the machine offers: devices, several processes, command lines."""
