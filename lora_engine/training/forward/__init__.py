"""Forward paths: how rows of tokens become a loss.

batches           the protocol that every path meets
padded            rows padded to the longest; works for every causal language model
packed            rows end to end in one sequence, without padding
select            which of the two a run takes, tested on its own model
attention_kernels which attention packed rows may use, and why
classifier_path   classification heads, with accuracy and F1
around            a path around another; the three that follow are of its kind
scaled            loss scaling around another path, for float16
autocast          mixed precision around another path, for full fine-tuning
offloaded         activations in the host's memory around another path
"""
