"""What a step makes likelier where it is more than the rows' own answers.

rewards        what an answer is worth by the rules of a GRPO run
"""
