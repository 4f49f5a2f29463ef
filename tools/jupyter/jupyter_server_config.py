"""What `make lab` tells JupyterLab; it finds this file through JUPYTER_CONFIG_PATH."""

from ipykernel.ipkernel import IPythonKernel
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

SPEC = KernelSpecManager().get_kernel_spec("python3")
PYTHON = {"kernelspec": {"name": "python3", "display_name": SPEC.display_name,
                         "language": SPEC.language},
          "language_info": IPythonKernel.language_info}


class Contents(AsyncLargeFileManager):
    """Files as ever, but a notebook opens with its still pictures and names its Python.

    Of live controls a file holds only a name, and JupyterLab would show "model not found" in place
    of the picture stored with it. The Python it would write into the notebook as soon as the kernel
    has started, and call the notebook unsaved before anybody has typed.
    """

    async def get(self, *args, **kwargs):
        model = await super().get(*args, **kwargs)
        if model["type"] == "notebook" and model["content"]:
            metadata = model["content"]["metadata"]
            if metadata.get("kernelspec", {}).get("name") == "python3":
                metadata.update(PYTHON)
            for cell in model["content"]["cells"]:
                for output in cell.get("outputs", []):
                    output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        return model


c = get_config()  # noqa: F821
c.ServerApp.contents_manager_class = Contents
c.ServerApp.jpserver_extensions = {"jupyterlab_jupytext": False}
# The notebooks' sources, beside the lessons: for those who write the course, who have an editor.
c.ContentsManager.hide_globs.extend(["py"])
# Photographs of more than 10 MB would not arrive through the upload button otherwise.
c.ServerApp.tornado_settings = {"websocket_max_message_size": 200_000_000}
