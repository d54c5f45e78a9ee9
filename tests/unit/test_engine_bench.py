from benchmarks.engine_bench import Ceilings, Part

CEILINGS = Ceilings(copy=1e9, operations=1e12, weights=1e9)


def test_a_parts_limit_is_the_slower_of_its_operations_and_its_bytes() -> None:
    assert Part("encode", 1.0, operations=5e11, bytes=1e8).limit(CEILINGS) == 0.5
    assert Part("decode", 1.0, operations=1e9, bytes=3e8).limit(CEILINGS) == 0.3


def test_a_part_reports_how_far_it_is_from_its_limit() -> None:
    report = Part("encode", 1.0, operations=5e11, bytes=1e8).report(CEILINGS)
    assert report == {"seconds": 1.0, "gflop": 500.0, "mb": 100.0, "over_limit": 2.0}
