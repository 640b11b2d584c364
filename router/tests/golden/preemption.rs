//! Decision logs of preemption, on executors that can break off a run. Times are in milliseconds.

use std::time::Duration;

use router::{RouterSettings, VariantSpec};

use crate::play::{Ask, MS, Play, ask, model};

/// Takes 5 ms alone and 8 ms for four, and is batched as Shepherd's FLEX does.
fn flex(id: u32) -> VariantSpec {
    VariantSpec { policy: "largest".to_owned(), ..model(id, 4 * MS, MS, None) }
}

fn play(preemptible: bool, specs: Vec<VariantSpec>) -> Play {
    let admission = "always".to_owned();
    let settings = RouterSettings { admission, lead: Duration::ZERO, ..RouterSettings::default() };
    Play::with(settings, (1, preemptible), specs)
}

fn burst(play: &mut Play, requests: u32, ask: Ask) {
    for _ in 0..requests {
        play.arrive(ask);
    }
}

/// One request of model 1 runs when four of model 0 come that could not be met together after it; and so once more, with
/// a request that has no time for a second run.
fn two_bursts(preemptible: bool) -> Play {
    let mut play = play(preemptible, vec![flex(0), flex(1)]);
    for within in [30 * MS, 7 * MS] {
        play.arrive(ask(1, within));
        play.pass(MS);
        burst(&mut play, 4, ask(0, 11 * MS));
        play.pass(20 * MS);
    }
    play.finish();
    play.assert_all_ended();
    play
}

#[test]
fn a_run_is_broken_off_for_a_batch_of_four_and_its_request_runs_again_or_is_lost() {
    let play = two_bursts(true);
    assert_eq!((play.aborted(), play.refused(), play.late()), (2, 1, 0));
    insta::assert_snapshot!(play.log);
}

#[test]
fn executors_that_do_not_say_that_they_can_break_off_nothing() {
    let play = two_bursts(false);
    assert_eq!((play.aborted(), play.late()), (0, 0));
    // Of each burst those go together for whom there is time after the run.
    assert_eq!(play.refused(), 2);
}

#[test]
fn the_requests_of_a_run_count_towards_the_batch_of_their_own_queue_that_takes_its_place() {
    let mut play = play(true, vec![flex(0)]);
    play.arrive(ask(0, 30 * MS));
    play.pass(MS);
    burst(&mut play, 2, ask(0, 11 * MS));
    assert_eq!(play.aborted(), 0);
    play.arrive(ask(0, 11 * MS));
    assert!(play.log.ends_with("-> batch 1 on executor 0: 1 2 3 0\n"), "{}", play.log);
    play.finish();
    play.assert_all_ended();
    assert_eq!((play.aborted(), play.refused(), play.late()), (1, 0, 0));
}

#[test]
fn a_run_that_has_no_time_to_be_repeated_is_not_broken_off_for_its_own_queue() {
    let mut play = play(true, vec![flex(0)]);
    play.arrive(ask(0, 8 * MS));
    play.pass(MS);
    burst(&mut play, 7, ask(0, 30 * MS));
    play.finish();
    play.assert_all_ended();
    assert_eq!((play.aborted(), play.refused(), play.late()), (0, 0, 0));
}

#[test]
fn it_is_the_size_that_counts_not_whether_the_batch_could_wait_for_the_end_of_the_run() {
    let mut play = play(true, vec![flex(0), flex(1)]);
    play.arrive(ask(1, 30 * MS));
    play.pass(MS);
    burst(&mut play, 4, ask(0, 29 * MS));
    play.finish();
    play.assert_all_ended();
    assert_eq!((play.aborted(), play.refused(), play.late()), (1, 0, 0));
}

#[test]
fn a_batch_of_three_times_the_rows_is_not_enough() {
    let mut play = play(true, vec![flex(0), flex(1)]);
    play.arrive(ask(1, 30 * MS));
    play.pass(MS);
    burst(&mut play, 3, ask(0, 8 * MS));
    play.finish();
    play.assert_all_ended();
    assert_eq!(play.aborted(), 0);
    assert!(play.refused() > 0);
}

#[test]
fn a_policy_that_does_not_preempt_breaks_off_nothing() {
    for policy in batcher::ALL.iter().filter(|policy| policy.name != "largest") {
        let spec = |id| VariantSpec { policy: policy.name.to_owned(), ..flex(id) };
        let mut play = play(true, vec![spec(0), spec(1)]);
        play.arrive(ask(1, 30 * MS));
        play.pass(MS);
        burst(&mut play, 8, ask(0, 13 * MS));
        play.finish();
        play.assert_all_ended();
        assert_eq!(play.aborted(), 0, "{}", policy.name);
    }
}
