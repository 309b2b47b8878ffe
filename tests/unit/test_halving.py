"""Successive halving decides by paired intervals, and only for what held."""

import numpy as np
import pytest

from bench.campaigns.halving import ROUNDS, Score, decide, next_round, ratio, standing


def score(level, turns, noise=0.0, seed=0, drift=1.0):
    """Seconds by turn: a level, noise of its own, and a drift that all candidates share."""
    chance = np.random.default_rng(seed)
    return Score(
        turns={t: level * drift**t * (1 + noise * float(chance.normal())) for t in range(turns)}
    )


def search(levels, noise, incumbent="present", broken=()):
    """Play a whole search on synthetic times; (verdict, measurements made)."""
    chance = np.random.default_rng(7)
    scores = {name: Score() for name in levels}
    done, turn, made, names = 0, 0, 0, list(levels)
    while (following := next_round(done, names, scores, incumbent)) is not None:
        names = following.names
        assert incumbent in following.names or scores[incumbent].problem
        for _ in range(following.turns):
            for name in following.names:
                made += 1
                if name in broken:
                    scores[name].problem = "sanity check before measuring failed"
                else:
                    seconds = levels[name] * (1 + noise * float(chance.normal()))
                    scores[name].turns[turn] = seconds
            turn += 1
        done += 1
    return decide(scores, incumbent), made


def test_the_fastest_of_many_is_found_with_few_measurements():
    levels = {"present": 1.0, **{f"c{n}": 0.7 + 0.01 * n for n in range(60)}}
    verdict, made = search(levels, noise=0.002)
    assert verdict.chosen == "c0"
    assert verdict.ratio.high < 0.75
    assert made < 5 * len(levels)


def test_equals_do_not_replace_the_incumbent():
    levels = {"present": 1.0, **{f"c{n}": 1.0 for n in range(5)}}
    replaced = 0
    for seed in range(20):
        chance = np.random.default_rng(seed)
        scores = {
            n: Score({t: 1 + 0.05 * float(chance.normal()) for t in range(8)}) for n in levels
        }
        replaced += decide(scores, "present").chosen != "present"
    # An interval of 95 % errs; it must not err for most of several candidates.
    assert replaced <= 6
    verdict, _ = search(levels, noise=0.05)
    assert verdict.measured


def test_a_gain_within_the_interval_changes_nothing():
    scores = {"present": score(1.0, 8, 0.1, 1), "other": score(0.99, 8, 0.1, 2)}
    verdict = decide(scores, "present")
    assert verdict.chosen == "present"
    assert "beyond the interval" in verdict.why or "nothing is faster" in verdict.why


def test_few_turns_decide_nothing_however_large_the_gain():
    scores = {"present": score(1.0, 5), "other": score(0.1, 5)}
    verdict = decide(scores, "present")
    assert verdict.chosen == "present"
    assert "5 turns only" in verdict.why
    assert decide({"present": score(1.0, 6), "other": score(0.1, 6)}, "present").chosen == "other"


def test_a_drift_that_all_share_is_no_difference():
    fast = {t: 0.9 * 1.3**t for t in range(8)}
    scores = {"present": score(1.0, 8, drift=1.3), "other": Score(turns=fast)}
    assert ratio(scores["other"], scores["present"]).high == pytest.approx(0.9)
    assert decide(scores, "present").chosen == "other"


def test_wrong_results_are_never_chosen():
    levels = {"present": 1.0, "wrong": 0.1, "good": 0.8}
    verdict, _ = search(levels, noise=0.001, broken={"wrong"})
    assert verdict.chosen == "good"
    late = {"present": score(1.0, 8), "wrong": score(0.1, 8)}
    late["wrong"].problem = "sanity check after measuring failed"
    assert decide(late, "present").chosen == "present"
    assert standing(late, "present") == ["present"]


def test_a_present_entry_that_fails_is_replaced_by_one_that_holds():
    scores = {"present": Score(problem="the compiler refused it: no"), "other": score(1.0, 6)}
    assert decide(scores, "present").chosen == "other"
    scores["other"] = score(1.0, 5)
    assert decide(scores, "present").chosen == "present"


def test_nothing_measured_is_said_with_its_reason():
    scores = {"present": Score(problem="no Triton target on this device"), "other": Score()}
    verdict = decide(scores, "present")
    assert not verdict.measured
    assert "no Triton target" in verdict.why
    assert next_round(1, list(scores), scores, "present") is None


def test_rounds_end():
    scores = {"present": score(1.0, 30, 0.2, 1), "other": score(1.0, 30, 0.2, 2)}
    assert next_round(ROUNDS, list(scores), scores, "present") is None
    assert next_round(ROUNDS - 1, list(scores), scores, "present").names
    clear = {"present": score(1.0, 8), "other": score(0.5, 8)}
    assert next_round(3, list(clear), clear, "present") is None
