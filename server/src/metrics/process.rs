//! The machine's own numbers, read from `/proc` at a scrape; absent where there is no such file.

use std::fs::read_to_string;

/// What one scrape sees of the machine and of the server as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Model versions served.
    pub(super) models: usize,
    /// Share of all cores' time that was not idle since the scrape before (at the first: since the machine started).
    pub(super) cpu_busy: Option<f64>,
    pub(super) memory_total: Option<u64>,
    pub(super) memory_used: Option<u64>,
    /// Of this process.
    pub(super) resident: Option<u64>,
    /// By executor, the bytes of models on it and all that it holds; empty where that is not limited.
    pub(super) memory: Vec<(u64, u64)>,
}

/// The processor's times since the machine started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    all: u64,
}

impl Process {
    pub(super) fn read(models: usize, before: &mut CpuTimes) -> Self {
        let text = |path| read_to_string(path).unwrap_or_default();
        let now = cpu_times(&text("/proc/stat"));
        let cpu_busy = now.and_then(|now| busy_share(*before, now));
        *before = now.unwrap_or_default();
        let memory = text("/proc/meminfo");
        let (total, free) = (kib(&memory, "MemTotal:"), kib(&memory, "MemAvailable:"));
        let used = total.zip(free).map(|(total, free)| total.saturating_sub(free));
        let resident = kib(&text("/proc/self/status"), "VmRSS:");
        let memory = Vec::new();
        Self { models, cpu_busy, memory_total: total, memory_used: used, resident, memory }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio to 15 digits is enough")]
fn busy_share(before: CpuTimes, now: CpuTimes) -> Option<f64> {
    let all = now.all.checked_sub(before.all).filter(|&all| all > 0)?;
    Some(now.busy.saturating_sub(before.busy) as f64 / all as f64)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    let all: u64 = ticks.iter().sum();
    Some(CpuTimes { busy: all - idle, all })
}

/// The bytes of a line such as `MemTotal:  2048 kB`.
fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_neither_idles_nor_waits_for_disks_since_the_scrape_before() {
        let before = cpu_times("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1").unwrap();
        let now = cpu_times("cpu  40 0 10 130 20 0 0 0 9 9\n").unwrap();
        assert_eq!(before, CpuTimes { busy: 20, all: 100 });
        assert_eq!(busy_share(before, now), Some(0.3));
        assert_eq!(busy_share(now, now), None);
    }

    #[test]
    fn an_unknown_text_gives_no_number() {
        assert_eq!(cpu_times("intr 5"), None);
        assert_eq!(kib("MemTotal: lots", "MemTotal:"), None);
        assert_eq!(kib("A: 1 kB\nMemTotal:  2048 kB\n", "MemTotal:"), Some(2048 * 1024));
    }
}
