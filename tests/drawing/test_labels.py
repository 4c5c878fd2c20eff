"""The names of points in a plane."""

from tasks.drawing.labels import Box, place_labels, rows


def test_labels_cover_neither_each_other_nor_points() -> None:
    points = [(100.0 + 7 * index, 100.0 + 5 * (index % 4)) for index in range(12)]
    boxes = [label.box for label in place_labels(points, ["concept"] * 12, Box(0, 0, 300, 200)) if label]
    assert len(boxes) >= 8
    assert not any(box.meets(rows(boxes[:index])).any() for index, box in enumerate(boxes))
    assert not any(box.left < x < box.right and box.top < y < box.bottom for box in boxes for x, y in points)


def test_a_label_keeps_off_the_error_bars_where_it_can() -> None:
    bar = Box(100, 40, 200, 60)  # right of the point, where a label goes first
    (label,), (kept_off,) = (place_labels([(90.0, 50.0)], ["concept"], Box(0, 0, 300, 100), avoid) for avoid in ([], [bar]))
    assert label and kept_off
    assert label.box.meets(rows([bar])).any() and not kept_off.box.meets(rows([bar])).any()
