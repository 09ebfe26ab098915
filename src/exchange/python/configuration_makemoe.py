"""The config of a model that makemoe trained and exported."""

from transformers import PretrainedConfig


class MakemoeConfig(PretrainedConfig):
    """What modeling_makemoe.py computes stands in `spec`; `makemoe` is for `makemoe import` alone."""

    model_type = "makemoe"

    def __init__(self, spec=None, makemoe=None, **others):
        self.spec = spec
        self.makemoe = makemoe
        super().__init__(**others)
