"""What a step makes likelier where it is more than the rows' own answers.

objective      what the loop asks of an objective
supervised     every supervised token made likelier
weighted_classes  the same for classifiers whose rare classes count more
answers        how likely the model finds whole answers
preference_losses  the losses of dpo, ipo, orpo, simpo and kto, as arithmetic
preferences    these losses over a step's batches, and on held-out rows
divergence     how far the model has moved from its base, on held-out answers
reference      the reference's log-probabilities, computed once before the first step
rewards        what an answer is worth by the rules of a GRPO run
rollouts       answers that the model samples while it trains, with their rewards
grpo_loss      advantages, the clipped ratio and the KL, as arithmetic
grpo           a step of GRPO: sample, judge, learn
"""
