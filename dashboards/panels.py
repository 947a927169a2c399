# SPDX-License-Identifier: Apache-2.0
"""The kinds of panels in the dashboards, each with title, description, unit and legend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    TableSortByFieldState,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

PACKETS_PER_SECOND = units.PacketsPerSecond
BITS_PER_SECOND = units.BitsPerSecondSI
BYTES = units.BytesIEC
SECONDS = units.Seconds
PERCENT = units.Percent
PER_SECOND = "suffix:/s"
EXACT = units.LocaleFormat
"""All digits, with separators, because a counter is exact."""

Panel = stat.Panel | timeseries.Panel | bargauge.Panel | heatmap.Panel | table.Panel

Steps = Sequence[tuple[float, str]]
"""The value from which a colour applies; below the first it is green."""


@dataclass(frozen=True)
class Query:
    """A PromQL query and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """A numeric column of a table: its query and its format."""

    title: str
    expr: str
    unit: str
    steps: Steps = ()


def number(title: str, text: str, unit: str, expr: str, *, steps: Steps = (), width: int = 4) -> stat.Panel:
    """Return a panel with one large number over its sparkline."""
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .unit(unit)
        .no_value("none")
        .span(width)
        .height(4)
        .thresholds(_thresholds(steps))
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(Query(expr)))
    )


def state(title: str, text: str, unit: str, expr: str, steps: Steps) -> stat.Panel:
    """Return a panel with one number on a coloured ground, to be seen from afar."""
    return (
        number(title, text, unit, expr, steps=steps)
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
    )


def lines(
    title: str,
    text: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    steps: Steps = (),
    width: int = 12,
) -> timeseries.Panel:
    """Return a panel with lines over time, or stacked areas."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .show_points(VisibilityMode.NEVER)
        .fill_opacity(40 if stacked else 8)
        .thresholds(_thresholds(steps))
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "mean", "max"])
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if steps:
        panel.thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE))
    for place, query in enumerate(queries):
        panel.with_target(_query(query, place))
    return panel


def ranking(title: str, text: str, unit: str, query: Query, *, width: int = 12) -> bargauge.Panel:
    """Return a panel with a bar per series, at the end of the time range."""
    return (
        bargauge.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .thresholds(_thresholds(()))
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(query).instant())
    )


def heat(title: str, text: str, unit: str, expr: str, *, width: int = 12) -> heatmap.Panel:
    """Return a heat map of a classic histogram: *expr* has a rate for each `le`, which has that unit."""
    return (
        heatmap.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .span(width)
        .height(8)
        .unit(PER_SECOND)
        .thresholds(_thresholds(()))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .with_target(_query(Query(expr, "{{le}}")).format(PromQueryFormat.HEATMAP))
    )


def rows(
    title: str,
    text: str,
    labels: Mapping[str, str],
    columns: Sequence[Column],
    *,
    links: Mapping[str, str] | None = None,
    width: int = 24,
    height: int = 9,
) -> table.Panel:
    """
    Return a table with a row for each value of *labels*, as of the end of the time shown.

    *labels* gives the title of each label's column, *links* a dashboard's address for some of these titles.
    Each column's query must have these labels and no others.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .span(width)
        .height(height)
        .filterable(True)
        .thresholds(_thresholds(()))
        .sort_by([TableSortByFieldState().display_name(columns[0].title).desc(True)])
    )
    values = _value_fields(len(columns))
    for place, column in enumerate(columns):
        panel.with_target(_query(Query(column.expr), place).instant().format(PromQueryFormat.TABLE))
        panel.override_by_name(column.title, _column_style(column))
    for column_title, address in (links or {}).items():
        link = {"title": "Show this", "url": address}
        panel.override_by_name(column_title, [DynamicConfigValue(id_val="links", value=[link])])
    names = {**labels, **dict(zip(values, (column.title for column in columns), strict=True))}
    return panel.with_transformation(DataTransformerConfig(id_val="merge", options={})).with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(names)},
                "renameByName": names,
            },
        )
    )


def _value_fields(queries: int) -> list[str]:
    """Return Grafana's names of the value columns after merging the tables of *queries* queries."""
    return ["Value"] if queries == 1 else [f"Value #{_letter(place)}" for place in range(queries)]


def _column_style(column: Column) -> list[DynamicConfigValue]:
    style = [DynamicConfigValue(id_val="unit", value=column.unit)]
    if column.steps:
        style.append(DynamicConfigValue(id_val="thresholds", value=_thresholds(column.steps).build()))
        cell = {"type": "color-text"}
        style.append(DynamicConfigValue(id_val="custom.cellOptions", value=cell))
    return style


def _query(query: Query, place: int = 0) -> Dataquery:
    return (
        Dataquery()
        .datasource(DATASOURCE)
        .ref_id(_letter(place))
        .expr(query.expr)
        .legend_format(query.legend)
        .range()
    )


def _letter(place: int) -> str:
    return chr(ord("A") + place)


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(color="green"), *(Threshold(value=value, color=color) for value, color in steps)])
    )
