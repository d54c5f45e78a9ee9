"""How often the same must stand in a row before an answer counts as a loop. The engine does the counting."""

USUAL = 50
PATIENT = {"table": 5000}  # empty cells repeat honestly

# Both numbers: PaddleX 3.7's PaddleOCR-VL pipeline, where it cuts repeated content off.


def usual_count(mode: str) -> int:
    return PATIENT.get(mode, USUAL)
