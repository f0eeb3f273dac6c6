"""The machine's speed before any run: what other programs take from it must not count."""

from lora_engine.calculator.speed_probe import BURSTS, matmul_flops_per_second, shortest


class Machine:
    """A clock, and work that takes longer while others are busy."""

    def __init__(self, seconds_of):
        self.now, self.done, self.rests, self._seconds_of = 0.0, 0, 0, seconds_of

    def work(self):
        self.done += 1
        self.now += self._seconds_of(self.done)

    def rest(self, seconds):
        self.rests += 1
        self.now += seconds


def test_one_free_moment_tells_the_speed():
    busy = Machine(lambda number: 0.001 if number == 17 else 0.02)
    found = shortest(busy.work, lambda: busy.now, lambda: busy.now, busy.rest)
    assert round(found, 6) == 0.001
    assert busy.rests == BURSTS


def test_work_longer_than_a_burst_is_done_once_in_each():
    slow = Machine(lambda number: 1.0 + number)
    assert shortest(slow.work, lambda: slow.now, lambda: slow.now, slow.rest) == 2.0
    assert slow.done == BURSTS


def test_time_that_other_programs_take_does_not_count():
    ours, walls = Machine(lambda number: 0.001), Machine(lambda number: 0.05)

    def work():
        ours.work()
        walls.work()

    assert round(shortest(work, lambda: ours.now, lambda: walls.now, walls.rest), 6) == 0.001


def test_the_machine_multiplies():
    assert matmul_flops_per_second() > 1e8
