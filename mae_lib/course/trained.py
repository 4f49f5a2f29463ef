"""The models that a learner has trained, kept beside their parts for the notebooks that follow."""

from pathlib import Path

from torch import Tensor, nn

from mae_lib.course import seam
from mae_lib.course.reference import from_official, to_official
from mae_lib.model import MaskedAutoencoder
from mae_lib.training.checkpoints import load_weights, save_weights


def path_of_model(name: str) -> Path:
    """Where the model `name` is kept; `load_weights` and the explorers can read the file.

    Raises ValueError for a name that is not letters, digits, "-" and "_".
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{name!r} cannot be the name of a model: use letters, digits, - and _.")
    return seam.folder() / "trained" / f"{name}.safetensors"


def keep_model(name: str, model: nn.Module, sizes: dict, **facts) -> None:
    """Keep the weights of a trained `MAE(**sizes)`, and `facts` (JSON values) about its training.

    The file has the official names, as the weights that come with the package do. A model kept
    before under the same name is replaced. Raises ValueError if weights and sizes do not fit.
    """
    package_model = MaskedAutoencoder(**sizes)
    try:
        package_model.load_state_dict(to_official(model.state_dict()))
    except (RuntimeError, ValueError):
        raise ValueError(f"The weights do not fit a model of {sizes}: pass the sizes that the "
                         "model was built with.") from None
    path = path_of_model(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, package_model, label=f"{name}, trained by you", **facts)
    print(f"Kept your trained model as {name!r}; later notebooks find it under this name."
          + seam.colab_forgets())


def kept_model(name: str) -> tuple[dict, dict[str, Tensor]] | None:
    """Sizes and weights of a model that `keep_model` kept: `MAE(**sizes)` takes the weights.

    None, and a sentence that says so, where there is none yet. Raises ValueError for a damaged
    file.
    """
    path = path_of_model(name)
    if not path.exists():
        print(f"You have not trained the model {name!r} yet. You do that in notebook 07.")
        return None
    model, _ = load_weights(path)
    sizes = {k: v for k, v in model.config.items() if k not in ("mlp_ratio", "class_token")}
    return sizes, from_official(model.state_dict())
