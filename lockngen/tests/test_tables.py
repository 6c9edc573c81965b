from lockngen.tables import table


def test_table__has_columns_as_wide_as_their_content():
    assert table([("name", "state"), ("Ann", "ok"), ("Beatrice", "late")]) == [
        "name      state",
        "Ann       ok",
        "Beatrice  late",
    ]


def test_table__aligns_integers_right_with_separators():
    assert table([("key", "waiting"), ("Ann", 7), ("Bea", 12345)]) == ["key  waiting", "Ann        7", "Bea   12,345"]


def test_table__leaves_a_mixed_column_left_aligned():
    assert table([("key", "share"), ("Ann", 1000), ("Bea", "–")]) == ["key  share", "Ann  1000", "Bea  –"]


def test_table__of_a_head_alone_is_one_line():
    assert table([("key", "share")]) == ["key  share"]
