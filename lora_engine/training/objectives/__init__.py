"""What a step makes likelier where it is more than the rows' own answers.

objective      what the loop asks of an objective
supervised     every supervised token made likelier
weighted_classes  the same for classifiers whose rare classes count more
rewards        what an answer is worth by the rules of a GRPO run
"""
