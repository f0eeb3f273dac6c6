"""Several processes train one run, each on a device of its own.

    ranks       what the processes say to each other: sums, and the first one's word
    shares      which rows of a step each of them takes
    processes   the first one starts the others, watches them and ends with them
    sharding    a frozen base divided over the devices (FSDP)

Every process has the whole adapter and its optimizer, and after each step they are equal: the
gradients of a step are summed, and each makes the same update. So the first one alone writes
metrics and checkpoints, and a checkpoint fits any number of processes.
"""
