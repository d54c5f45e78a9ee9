from benchmarks.engine_bench import Ceilings, Part

CEILINGS = Ceilings(copy=1e9, operations=1e12, weights=1e9)


def test_the_limit_of_a_part_is_the_slower_of_its_operations_and_its_bytes() -> None:
    assert Part(name="encode", seconds=1.0, operations=5e11, bytes=1e8).limit(CEILINGS) == 0.5
    assert Part(name="decode", seconds=1.0, operations=1e9, bytes=3e8).limit(CEILINGS) == 0.3


def test_the_figures_of_a_part_include_its_time_over_its_limit() -> None:
    figures = Part(name="encode", seconds=1.0, operations=5e11, bytes=1e8).figures(CEILINGS)
    assert figures == {"seconds": 1.0, "gflop": 500.0, "mb": 100.0, "over_limit": 2.0}
