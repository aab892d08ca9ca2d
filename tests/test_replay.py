import time

import numpy as np
import pandas as pd
import pytest

from temlib.replay import kept_up, replay, replay_table

pytestmark = pytest.mark.alone
MOVIE = np.zeros((3, 4, 6), np.uint16)
SECONDS = 5


class Sleeper:
    """A network of known delay; keeps what the delay really was, since a busy machine wakes it late."""

    def __init__(self, seconds):
        self.seconds, self.took_s = seconds, []

    def __call__(self, frame):
        start = time.perf_counter()
        time.sleep(self.seconds)
        self.took_s.append(time.perf_counter() - start)


def test_a_network_of_10_ms_loses_nothing_of_50_frames_a_second():
    log = replay(Sleeper(0.010), MOVIE, fps=50, seconds=SECONDS, buffer_frames=50)  # a busy machine may stall for long
    found = kept_up(log)
    assert (found["frames"], found["dropped"]) == (250, 0)
    assert found["sustained_fps"] == pytest.approx(50, rel=0.05)
    waited_s = log.left_s - log.arrived_s
    assert 0.010 <= waited_s.min() < 0.015  # a frame that finds nothing before it waits for itself alone
    assert found["p50_ms"] >= 10


def test_a_network_of_40_ms_loses_half_of_50_frames_a_second():
    network = Sleeper(0.040)
    found = kept_up(replay(network, MOVIE, fps=50, seconds=SECONDS, buffer_frames=4))
    mean_s = np.mean(network.took_s)
    assert found["frames"] == 250
    # in 5 s it can take 5 / 0.040 = 125 frames, and up to 4 that are still in the buffer after them
    assert 250 - found["dropped"] == pytest.approx(SECONDS / mean_s + 2, abs=4)
    assert found["sustained_fps"] == pytest.approx(1 / mean_s, rel=0.05)
    # the oldest of 4 frames that came 20 ms apart is 60 to 80 ms old when it is taken, and then takes 40 ms
    assert 100 <= found["p50_ms"] < 80 + 1e3 * np.median(network.took_s) + 10


def test_the_numbers_of_four_frames_are_those_worked_out_by_hand():
    log = pd.DataFrame({"arrived_s": [0.0, 0.5, 1.0, 1.5], "left_s": [0.1, np.nan, 1.2, 1.6]})
    found = kept_up(log)  # they waited 100, 200 and 100 ms
    assert (found["frames"], found["dropped"]) == (4, 1)
    assert found["sustained_fps"] == pytest.approx(3 / 1.6)
    assert found["p50_ms"] == pytest.approx(100)
    assert found["p95_ms"] == pytest.approx(190)  # position 0.95 x 2 = 1.9, between 100 and 200
    assert found["p99_ms"] == pytest.approx(198)


def test_frames_come_in_order_whole_and_from_the_start_again():
    movie = np.stack([np.full((4, 6), value, np.uint16) for value in (7, 8, 9)])
    seen = []
    replay(lambda frame: seen.append(frame), movie, fps=100, seconds=0.07)
    assert [frame[0, 0] for frame in seen] == [7, 8, 9, 7, 8, 9, 7]
    assert all((frame == frame[0, 0]).all() for frame in seen)


def test_a_ring_of_one_gives_the_newest_frame():
    movie = np.arange(100, dtype=np.uint16)[:, None, None]
    seen, begin = [], time.perf_counter()

    def denoise(frame):
        due = 100 * (time.perf_counter() - begin)  # frames that have arrived, at 100 a second
        seen.append(due - frame.item())
        time.sleep(0.1)

    replay(denoise, movie, fps=100, seconds=1, buffer_frames=1)
    assert len(seen) <= 11
    assert np.median(seen) < 2.5


def test_no_frame_leaves_before_it_has_arrived():
    log = replay(Sleeper(0), MOVIE, fps=200, seconds=0.5)
    assert (log.left_s >= log.arrived_s).all()


def test_an_error_of_the_network_ends_the_replay():
    def broken(frame):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        replay(broken, MOVIE, fps=100, seconds=0.1)


def test_a_table_has_a_row_for_every_runtime_and_rate():
    from temlib.runtimes import Runtime

    runtime = Runtime("paper", "torch", "fp32", "a processor", 2, lambda counts: (counts, {}))
    table = replay_table([runtime, runtime], MOVIE, rates=(50, 100), seconds=0.1)
    assert list(table.fps) == [50, 100, 50, 100]
    assert list(table.frames) == [5, 10, 5, 10]
    assert (table.dropped == 0).all()
    assert (table.model == "paper").all()
