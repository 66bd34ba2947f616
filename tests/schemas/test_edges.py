from schemas.edges import EDGES, SEGMENT, WIRE_EDGES


def test_biometric_columns_travel_on_the_named_edges_only():
    assert tuple(e.name for e in EDGES if e.biometric_columns) == WIRE_EDGES


def test_every_edge_repeats_the_segment():
    for edge in EDGES:
        assert edge.columns[: len(SEGMENT)] == SEGMENT, edge.name


def test_columns_that_could_hold_pixels_or_vectors_are_marked():
    for edge in EDGES:
        for column in edge.columns:
            holds_pixels = "binary" in str(column.type)
            holds_vectors = "embedding" in column.name and "list<" in str(column.type)
            if holds_pixels or (holds_vectors and "has" not in column.name):
                assert column.biometric, f"{edge.name}.{column.name}"
