# SPDX-License-Identifier: Apache-2.0
"""The frame of all dashboards: variables, links to each other, time zone, refresh, alert annotations."""

import itertools
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models.common import TimeZoneBrowser
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.panels import DATASOURCE, Panel

TAG = "xdp"
OVERVIEW, FLEET, MAPS, SIDECARS, COLLECTOR = (
    f"xdp-{name}" for name in ("overview", "fleet", "maps", "sidecars", "collector")
)
"""The uid of each dashboard, used in its URL (/d/UID) and file name."""

_ALL = VariableOption(text="All", value="$__all", selected=True)


def dashboard(
    uid: str,
    title: str,
    text: str,
    *,
    variables: Sequence[QueryVariable],
    rows: Mapping[str, Sequence[Panel]],
) -> Dashboard:
    """Return a dashboard with a datasource variable, links to all others, and the panels of each row."""
    made = (
        Dashboard(title)
        .uid(uid)
        .description(text)
        .tags([TAG])
        .timezone(TimeZoneBrowser)
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(DatasourceVariable("datasource").label("Datasource").type("prometheus"))
        .link(
            DashboardLink("XDP")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(
            AnnotationQuery()
            .name("Alerts")
            .datasource(DATASOURCE)
            .enable(True)
            .icon_color("orange")
            .expr('ALERTS{alertname=~"Xdp.+",alertstate="firing"}')
        )
    )
    for variable in variables:
        made.with_variable(variable)
    number = itertools.count(1)
    for row, panels in rows.items():
        made.with_row(Row(row).id(next(number)))
        for panel in panels:
            made.with_panel(panel.id(next(number)))
    return made


def jobs() -> QueryVariable:
    """Return the variable `job`: service.namespace/service.name of the sidecars."""
    return choice("job", "Job", "label_values(xdp_target_info, job)", everything=".+")


def nodes() -> QueryVariable:
    """Return the variable `node`: host.name of the sidecars of the chosen jobs."""
    return choice("node", "Node", 'label_values(xdp_target_info{job=~"$job"}, host_name)')


def interfaces() -> QueryVariable:
    """Return the variable `interface`; "all" includes none, for maps read by pin, name or id."""
    query = 'label_values(xdp_xdp_packets_total{job=~"$job"}, network_interface_name)'
    return choice("interface", "Interface", query)


def directions() -> QueryVariable:
    """Return the variable `direction`; "all" includes none, where only received packets are counted."""
    query = 'label_values(xdp_xdp_packets_total{job=~"$job"}, network_io_direction)'
    return choice("direction", "Direction", query)


def choice(name: str, label: str, query: str, *, everything: str = ".*") -> QueryVariable:
    """
    Return a variable with any number of the values that *query* finds, all at first.

    *everything* is the regular expression for "all"; "" means exactly the values found.
    """
    made = single(name, label, query).multi(True).include_all(True).current(_ALL)
    return made.all_value(everything) if everything else made


def single(name: str, label: str, query: str) -> QueryVariable:
    """Return a variable with a single value of *query*, initially the first."""
    return (
        QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(DATASOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def address(uid: str, **fields: str) -> str:
    """Return the URL of a dashboard with the current time range; variables take values of table columns."""
    chosen = "".join(
        f'&var-{name}=${{__data.fields["{field}"]:percentencode}}' for name, field in fields.items()
    )
    return f"/d/{uid}?${{__url_time_range}}&${{datasource:queryparam}}{chosen}"
