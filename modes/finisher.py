from modes.markdown import Finisher

__all__ = ["Finisher"]
