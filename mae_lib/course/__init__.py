"""What only the notebooks use: a session, pictures, exercises and widgets."""

from mae_lib.course.session import (
    LEVELS,
    PHOTOGRAPHS,
    Picture,
    Session,
    photograph,
    photographs,
    show,
    start,
)

__all__ = ["LEVELS", "PHOTOGRAPHS", "Picture", "Session", "photograph", "photographs", "show",
           "start"]
