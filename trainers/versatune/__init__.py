"""VersaTune (arXiv 2411.11266): domains drawn by weights that move while a model trains.

One run with one optimiser and one schedule of the rate. The data set has a config per domain, each with a train and a
held-out split; weights follow from the held-out losses by the paper's rules or by those they are compared with.
"""

from .config import VersatunePretrainConfig, VersatuneSFTConfig, pretrain, sft

__all__ = ["VersatunePretrainConfig", "VersatuneSFTConfig", "pretrain", "sft"]
