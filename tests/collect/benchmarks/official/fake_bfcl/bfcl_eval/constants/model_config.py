from dataclasses import dataclass

MODEL_CONFIG_MAPPING = {}


@dataclass
class ModelConfig:
    model_name: str
    display_name: str
    url: str
    org: str
    license: str
    model_handler: type
    is_fc_model: bool
    underscore_to_dot: bool
