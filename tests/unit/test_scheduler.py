"""The scheduler, driven without torch: sequences are real, their prompts are bare token lists."""

from collections.abc import Sequence

from engine.request import Job
from engine.request import Sequence as EngineSequence
from engine.scheduler import Scheduler, Step
from engine.slots import Slots
from tests.sequences import bare_sequence


def sequence(ids: Sequence[int] = (1, 2, 3), client: str = "", *, follows: bool = False) -> EngineSequence:
    return bare_sequence(ids, job=Job(client), follows=follows)


def scheduler_with(count: int, slots: int) -> tuple[Scheduler, list[EngineSequence]]:
    scheduler, sequences = Scheduler(Slots(slots)), [sequence() for _ in range(count)]
    for one in sequences:
        scheduler.add(one)
    return scheduler, sequences


def prefill(step: Step) -> list[EngineSequence]:
    """Prefill a step's prompts to the end, as the runner would: each sequence gets its first token."""
    for one in step.prefill:
        one.tokens.append(7)
    return step.prefill


def test_a_request_runs_once_its_prompt_has_been_prefilled() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=4)
    steps = [scheduler.schedule()]
    prefill(steps[0])
    steps += [scheduler.schedule() for _ in range(2)]  # the second one needs more than one step
    prefill(steps[-1])
    steps.append(scheduler.schedule())
    assert [step.prefill for step in steps] == [[first], [second], [second], []]
    assert [step.decode for step in steps] == [[], [first], [first], [first, second]]


def test_short_prompts_are_prefilled_together_and_a_long_one_alone() -> None:
    scheduler = Scheduler(Slots(8), max_prefill_tokens=8)
    short, other, third, long = (sequence(range(length)) for length in (3, 4, 2, 50))
    for one in (short, other, third, long):
        scheduler.add(one)
    assert [prefill(scheduler.schedule()) for _ in range(3)] == [[short, other], [third], [long]]


def test_requests_are_served_in_order_of_arrival() -> None:
    scheduler, sequences = scheduler_with(5, slots=5)
    assert [one for _ in range(5) for one in prefill(scheduler.schedule())] == sequences


def served(scheduler: Scheduler, count: int) -> list[EngineSequence]:
    """The next `count` sequences that get the only slot; each is removed as soon as it is prefilled."""
    order = []
    for _ in range(count):
        (one,) = prefill(scheduler.schedule())
        scheduler.remove(one)
        order.append(one)
    return order


def of(client: str, count: int) -> list[EngineSequence]:
    return [sequence(client=client) for _ in range(count)]


def added(*sequences: EngineSequence, slots: int = 1) -> Scheduler:
    scheduler = Scheduler(Slots(slots))
    for one in sequences:
        scheduler.add(one)
    return scheduler


def test_a_clients_one_request_does_not_wait_for_anothers_two_hundred() -> None:
    rush, (quiet,) = of("rush", 200), of("quiet", 1)
    scheduler = added(*rush)
    assert served(scheduler, 1) == rush[:1]
    scheduler.add(quiet)
    assert served(scheduler, 3) == [quiet, *rush[1:3]]


def test_clients_take_turns_and_each_ones_requests_are_served_in_order() -> None:
    a, b, c = of("a", 3), of("b", 2), of("c", 1)
    assert served(added(*a, *b, *c), 6) == [a[0], b[0], c[0], a[1], b[1], a[2]]


def test_new_clients_delay_no_other_for_more_than_a_turn_each() -> None:
    """A client that was served waits for clients that have arrived meanwhile, but not for later ones."""
    patient = of("patient", 2)
    scheduler = added(*patient)
    order = served(scheduler, 1)
    for number in range(3):
        for one in of(f"newcomer {number}", 1):
            scheduler.add(one)
        order += served(scheduler, 1)
    assert order[2] is patient[1]


def test_later_prompts_of_an_answer_go_before_its_clients_next_answer_but_not_before_other_clients() -> None:
    first, other = of("a", 3), of("b", 1)
    scheduler = added(*first, *other)
    assert served(scheduler, 1) == first[:1]
    pages = [sequence(client="a", follows=True) for _ in range(2)]
    for page in pages:
        scheduler.add(page)
    assert served(scheduler, 5) == [other[0], *pages, *first[1:]]


def test_a_client_whose_only_request_was_removed_has_no_turn() -> None:
    (leaving,), (staying,) = of("a", 1), of("b", 1)
    scheduler = added(leaving, staying)
    scheduler.remove(leaving)
    assert served(scheduler, 1) == [staying]
    assert scheduler.idle


def test_a_request_waits_until_a_slot_is_free() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=1)
    prefill(scheduler.schedule())
    assert scheduler.schedule().prefill == []
    scheduler.remove(first)
    assert scheduler.schedule().prefill == [second]


def test_a_slot_is_not_reused_while_the_group_of_its_last_owner_is_prefilled() -> None:
    """The vision tower and the decoder continue for the others, and may write into it."""
    scheduler = Scheduler(Slots(2), max_prefill_tokens=8)
    leaving, staying, newcomer = (sequence() for _ in range(3))
    for one in (leaving, staying, newcomer):
        scheduler.add(one)
    assert scheduler.schedule().prefill == [leaving, staying]
    scheduler.remove(leaving)
    assert scheduler.schedule().prefill == [staying]
    prefill(scheduler.schedule())
    assert scheduler.schedule().prefill == [newcomer]


def test_running_requests_never_share_a_slot() -> None:
    scheduler, sequences = scheduler_with(4, slots=4)
    for _ in range(4):
        prefill(scheduler.schedule())
    assert sorted(one.slot for one in sequences if one.slot is not None) == [0, 1, 2, 3]


def test_a_finished_request_leaves_the_batch_and_its_slot() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=2)
    prefill(scheduler.schedule())
    prefill(scheduler.schedule())
    scheduler.remove(first)
    assert scheduler.schedule().decode == [second]
    assert scheduler.slots.free == 1
    assert first.slot is None


def test_a_waiting_request_can_be_removed() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=1)
    scheduler.schedule()
    scheduler.remove(second)
    scheduler.remove(first)
    assert scheduler.idle
    assert scheduler.slots.free == 1


def test_the_next_request_continues_where_the_last_one_left_the_cache() -> None:
    """The newest token of an answer is not in the cache: no step has had it as input."""
    prompt, answer = list(range(20)), [101, 102, 103]
    scheduler = Scheduler(Slots(1))
    first = sequence(prompt)
    second = sequence([*prompt, *answer, 7])
    scheduler.add(first)
    scheduler.schedule()
    first.tokens += answer
    scheduler.remove(first)
    scheduler.add(second)
    assert scheduler.schedule().prefill == [second]
    assert second.reused == len(prompt) + len(answer) - 1


def test_a_prompt_that_was_not_prefilled_leaves_no_prefix_in_its_slot() -> None:
    scheduler = Scheduler(Slots(1))
    first, second = (sequence(list(range(20))) for _ in range(2))
    scheduler.add(first)
    scheduler.schedule()
    scheduler.remove(first)
    scheduler.add(second)
    scheduler.schedule()
    assert second.reused == 0


def test_a_failed_request_leaves_no_prefix_in_its_slot() -> None:
    scheduler = Scheduler(Slots(1))
    first, second = (sequence(list(range(20))) for _ in range(2))
    scheduler.add(first)
    scheduler.schedule()
    first.tokens += [101, 102]
    scheduler.remove(first, failed=True)
    scheduler.add(second)
    scheduler.schedule()
    assert second.reused == 0


def test_positions_and_cache_length_follow_the_tokens() -> None:
    one = sequence()
    assert one.cached == 3
    one.tokens += [7, 8]
    assert one.cached == 4  # the newest token is in the cache only after the next step
    assert one.position == 4
