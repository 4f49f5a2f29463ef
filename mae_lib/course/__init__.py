"""What only the notebooks use: a session, the learner's parts, pictures, exercises and widgets."""

from mae_lib.course.assemble import assemble
from mae_lib.course.predict import predict
from mae_lib.course.progress import status
from mae_lib.course.seam import recheck, reset, use
from mae_lib.course.session import (
    LEVELS,
    PHOTOGRAPHS,
    Picture,
    Session,
    photograph,
    photographs,
    shipped_weights,
    show,
    start,
)
from mae_lib.course.trained import keep_model, kept_model

__all__ = ["LEVELS", "PHOTOGRAPHS", "Picture", "Session", "assemble", "keep_model", "kept_model",
           "photograph", "photographs", "predict", "recheck", "reset", "shipped_weights", "show",
           "start", "status", "use"]
