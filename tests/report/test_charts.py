# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panoptic_gs.report.charts import line_chart, linear_ticks, log_ticks, short

NUMBERS = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6)


@given(NUMBERS, NUMBERS)
def test_linear_ticks_enclose_the_values(one, other):
    low, high = sorted((one, other))
    ticks = linear_ticks(low, high)
    slack = 1e-6 * max(1e-3, abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


@given(st.floats(1e-6, 1e6), st.floats(1, 1e4))
def test_log_ticks_are_one_two_five(low, factor):
    ticks = log_ticks(low, low * factor)
    assert len(ticks) >= 2
    assert {f"{tick:.0e}"[0] for tick in ticks} <= set("125")


def test_numbers_are_short():
    assert [short(value) for value in (0, 0.05, 12.5, 1500, 30000, 2e6)] == ["0", "0.05", "12.5", "1.5k", "30k", "2M"]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_chart_of_a_single_point_and_a_nasty_name_is_drawn(logarithmic):
    chart = line_chart("loss", {"<b>": [(10.0, 0.5)], "none": []}, logarithmic=logarithmic)
    assert "<b>" not in chart
    assert "&lt;b&gt;" in chart
    assert "nan" not in chart
