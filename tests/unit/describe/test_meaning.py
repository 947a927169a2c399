# SPDX-License-Identifier: Apache-2.0
import pytest

from sidecar.describe.meaning import Meaning, aggregate_of, meaning_of
from sidecar.describe.shape import Encoding, Part

COUNTS = (
    "packets bytes drops pkts rx_packets tx_bytes rx.packets rxPackets stats.rx.dropped value counts.3 "
    "a.5 field_0  hits errors misses retransmits syn fin rst tcp udp icmp vlan ipv4 ip arp other allowed "
    "blocked passed redirect  packet_count pkt_cnt num_flows nr_events events_total total sum "
    "total_packets total_ns sum_ns ns_total ns  run_time_ns busy_ns cpu_time idle_ns total_latency_us "
    "latency_sum elapsed_ns cycles runtime exec_ns  timeouts timeout time_exceeded ttl_exceeded "
    "rate_limited tokens_used window_updates window_drops flags_errors  state_changes id_mismatches "
    "bad_state invalid_flags unknown_proto no_tokens low_ttl zero_window out_of_window  max_exceeded "
    "max_size_drops end_of_window_drops seen packets_seen bytes_seen first_fragments first_bytes "
    "bytes_us packets_ds stats statistics pktstats attempts posts hosts adds classid_errors midpoints "
    "grids valid  rx_csum_complete queued expired updated created started size len latency duration "
    "unicast broadcast  cookie_failures bytes_per_state_total port protocol family reads lifetimes "
    "averages rates maximal minutes "
)
MOMENTS = (
    "last_seen lastSeen first_seen flow.last_seen last_ts rx_ts ts timestamp rx_timestamp hw_timestamp_ns "
    "time  time_ns start_time start_time_ns last_update last_packets prev_bytes end_ns start_ns "
    "created_at first_ns  created_ns expires expiry deadline ktime first_packet first_time flow_seen "
    "start_jiffies "
)
FIGURES = (
    "lifetime ttl state tcp_state window snd_wnd mean iat_mean avg_len len_avg min max min_rtt rtt_max "
    "max_bytes  max_len pkt_len_mean latency_ns duration_us rtt srtt rtt_us jitter iat_ns age status "
    "uptime p99 gap_ns delay_ms "
)
LEVELS = "tokens bucket.tokens rate error_rate pps qlen cur_conns current_flows credits inflight watermark"
MARKS = (
    "flags tcp_flags id flow_id pid ifindex cookie seq saddr mac.0 src_mac eth_addr.5 dst_ip ip_pad pad2 "
    "_pad __reserved1  reserved "
)


def unsigned(name, bits=64, kind="__u64", **more):
    return Part(name, 0, bits, Encoding.UNSIGNED, kind, **more)


@pytest.mark.parametrize(
    ("names", "meaning"),
    [
        (COUNTS, Meaning.COUNT),
        (MOMENTS, Meaning.TIME),
        (FIGURES, Meaning.NON_ADDITIVE),
        (LEVELS, Meaning.LEVEL),
        (MARKS, Meaning.IDENTIFIER),
    ],
)
def test_the_name_of_a_field_suggests_its_meaning(names, meaning):
    """By whole words, of which the last decides: `window_drops` are drops."""
    meanings = {name: meaning_of(unsigned(name)) for name in names.split()}

    assert {name: other for name, other in meanings.items() if other is not meaning} == {}


def test_the_type_of_a_field_suggests_its_meaning():
    """Times, ids, and numbers in network order unless the name is that of a count."""
    assert meaning_of(unsigned("x", kind="ktime_t")) is Meaning.TIME
    assert meaning_of(unsigned("owner", 32, "pid_t")) is Meaning.IDENTIFIER
    assert meaning_of(unsigned("nexthop", 32, "__be32", big_endian=True)) is Meaning.IDENTIFIER
    assert meaning_of(unsigned("packets", 32, "__be32", big_endian=True)) is Meaning.COUNT
    assert meaning_of(unsigned("port", 16, "__u16")) is Meaning.IDENTIFIER


@pytest.mark.parametrize(
    ("name", "aggregate"),
    [
        ("last_seen", "max"),
        ("first_seen_ns", "min"),
        ("update_ts", "max"),
        ("max_len", "max"),
        ("rtt_min", "min"),
        ("peak", "max"),
        ("tokens", "sum"),
        ("mean", "sum"),
        ("packets", "sum"),
    ],
)
def test_how_cpus_are_combined_is_told_by_the_name(name, aggregate):
    """A time is never added up."""
    assert aggregate_of(Part(name, 0, 64, Encoding.UNSIGNED, "__u64")) == aggregate
