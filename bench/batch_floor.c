// SPDX-License-Identifier: Apache-2.0
/*
 * The floor: read a per-CPU hash in batches and sum over the CPUs. Prints the CPU ns of each round.
 *
 * usage: batch_floor FD ENTRIES WORDS CPUS ROUNDS    (keys of 4 bytes, values of WORDS u64)
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 65536 };

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static size_t read_batch(int fd, uint32_t *cursor, int started, void *keys, void *values, int *end)
{
	union bpf_attr attr;
	uint32_t next;

	memset(&attr, 0, sizeof(attr));
	attr.batch.in_batch = started ? (uintptr_t)cursor : 0;
	attr.batch.out_batch = (uintptr_t)&next;
	attr.batch.keys = (uintptr_t)keys;
	attr.batch.values = (uintptr_t)values;
	attr.batch.count = BATCH;
	attr.batch.map_fd = fd;
	*end = syscall(__NR_bpf, BPF_MAP_LOOKUP_BATCH, &attr, sizeof(attr)) != 0;
	if (*end && errno != ENOENT) {
		perror("read a batch of the map");
		exit(1);
	}
	*cursor = next;
	return attr.batch.count;
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	int fd = atoi(argv[1]);
	size_t entries = atol(argv[2]), words = atol(argv[3]), cpus = atol(argv[4]);
	uint32_t *keys = malloc(BATCH * sizeof(*keys));
	uint64_t *values = malloc(BATCH * words * cpus * sizeof(*values));
	uint64_t *sums = calloc((entries + BATCH) * words, sizeof(*sums));

	for (int round = atoi(argv[5]); round > 0; round--) {
		uint64_t began = cpu_ns();
		size_t found = 0;
		uint32_t cursor = 0;

		for (int end = 0; !end;) {
			size_t count = read_batch(fd, &cursor, found > 0, keys, values, &end);

			for (size_t at = 0; at < count; at++, found++)
				for (size_t word = 0; word < words; word++) {
					uint64_t sum = 0;

					for (size_t cpu = 0; cpu < cpus; cpu++)
						sum += values[(at * cpus + cpu) * words + word];
					sums[found * words + word] = sum;
				}
		}
		if (found != entries)
			return 3;
		printf("%llu\n", (unsigned long long)(cpu_ns() - began));
	}
	return 0;
}
