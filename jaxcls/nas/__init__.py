"""Architecture search: spaces of nets, the supernet and its controller, samplers, baselines (docs/nas.md)."""
