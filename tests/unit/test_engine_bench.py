from benchmarks.engine_bench import Ceilings, Part

CEILINGS = Ceilings(copy=1e9, operations=1e12, weights=1e9)


def test_a_parts_limit_is_the_slower_of_its_operations_and_its_bytes() -> None:
    assert Part("encode", 1.0, operations=5e11, bytes=1e8).limit(CEILINGS) == 0.5
    assert Part("decode", 1.0, operations=1e9, bytes=3e8).limit(CEILINGS) == 0.3


def test_a_part_tells_how_far_from_its_limit_it_is() -> None:
    told = Part("encode", 1.0, operations=5e11, bytes=1e8).told(CEILINGS)
    assert told == {"seconds": 1.0, "gflop": 500.0, "mb": 100.0, "over_limit": 2.0}
