# SPDX-License-Identifier: Apache-2.0
"""All scenarios, by name, in the order of the ledger."""

from collections.abc import Callable, Mapping

from chaos.scenarios import collector, kernel, kills, network, nodes, refusals, state, without_collector
from chaos.stage import Stage

SCENARIOS: Mapping[str, Callable[[Stage], None]] = {
    "sidecar-kill": kills.sidecar_kill,
    "kill-points": kills.kill_points,
    "network-cut": network.network_cut,
    "answers-lost": network.answers_lost,
    "answers-late": network.answers_late,
    "collector-away-long": network.collector_away_long,
    "collector-term": collector.collector_term,
    "collector-kill": collector.collector_kill,
    "everything": collector.everything,
    "journal-lost": state.journal_lost,
    "refusals": refusals.refusals,
    "fan-out": refusals.fan_out,
    "hop-500": refusals.hop_500,
    "oversize-answers": refusals.oversize_answers,
    "two-collectors": collector.two_collectors,
    "prometheus-down": collector.prometheus_down,
    "no-collector": without_collector.no_collector,
    "program-reload": kernel.program_reload,
    "reload-pin-first": kernel.program_reload_pin_first,
    "double-reload": kernel.double_reload,
    "detach-under-way": kernel.detach_under_way,
    "map-emptied": kernel.map_emptied,
    "interface-remade": kernel.interface_remade,
    "clock-step": kernel.clock_step,
    "disk-full": state.disk_full,
    "read-only": state.read_only,
    "journal-truncated": state.journal_truncated,
    "journal-flipped": state.journal_flipped,
    "second-writer": state.second_writer,
    "two-nodes": nodes.two_nodes,
    "same-hostname": nodes.same_hostname,
    "reboot": kernel.reboot,
    "fleet": nodes.fleet,
}
