"""Deep continual learners: prompts and heads on a pretrained transformer; PyTorch is loaded when one is made."""
