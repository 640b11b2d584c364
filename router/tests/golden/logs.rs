//! Decision logs of small scenarios. Times are in milliseconds.

use std::time::Duration;

use models::{ExecutorId, VariantId};
use router::{Event, PolicyNames};

use crate::play::{Ask, MS, Play, ask, model};

#[test]
fn an_overloaded_queue_gives_up_whom_it_cannot_serve_in_full_batches_and_nothing_that_ran_is_late()
{
    // A batch of 4 takes 8 ms: at most 1 request every 2 ms, and one comes every ms.
    let mut spec = model(0, 4 * MS, MS, Some(20 * MS));
    spec.settings.batch_max = 4;
    let mut play = Play::new(1, vec![spec]);
    for _ in 0..32 {
        play.arrive(ask(0, 20 * MS));
        play.pass(MS);
    }
    play.finish();
    play.assert_all_ended();
    assert_eq!(play.late(), 0);
    insta::assert_snapshot!(play.log);
}

#[test]
fn of_two_models_on_one_executor_the_tighter_goes_first() {
    let tight = model(0, MS, MS, Some(10 * MS));
    let loose = model(1, 2 * MS, MS, Some(60 * MS));
    let mut play = Play::new(1, vec![tight, loose]);
    for round in 0..6 {
        play.arrive(ask(1, 60 * MS));
        if round % 2 == 0 {
            play.arrive(ask(0, 10 * MS));
        }
        play.pass(MS);
    }
    play.finish();
    play.assert_all_ended();
    insta::assert_snapshot!(play.log);
}

/// One executor runs a loose model's batch; one request waits for its end, and another comes when the executor takes the next
/// batch, from 4.8 ms on, but whoever wakes the router for that is late.
fn before_a_late_alarm(waits: Ask, comes: Ask) -> Play {
    let tight = model(0, MS, MS, Some(10 * MS));
    let loose = model(1, 4 * MS, MS, Some(60 * MS));
    let mut play = Play::new(1, vec![tight, loose]);
    play.arrive(ask(1, 60 * MS));
    play.pass(MS);
    play.arrive(waits);
    play.pass(3 * MS);
    play.now = play.now + MS * 9 / 10;
    play.arrive(comes);
    play.finish();
    play.assert_all_ended();
    play
}

#[test]
fn a_request_that_comes_before_a_late_alarm_does_not_overtake_a_tighter_one() {
    let play = before_a_late_alarm(ask(0, 10 * MS), ask(1, 60 * MS));
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_tighter_request_that_comes_before_a_late_alarm_goes_before_those_who_wait_for_it() {
    let play = before_a_late_alarm(ask(1, 60 * MS), ask(0, 10 * MS));
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_long_batch_leaves_an_executor_to_a_tighter_model() {
    let tight = model(0, MS, MS, Some(10 * MS));
    let long = model(1, 50 * MS, MS, None);
    let mut play = Play::new(2, vec![tight, long]);
    let whenever = Ask { within: None, ..ask(1, MS) };
    play.arrive(ask(0, 10 * MS));
    play.pass(3 * MS);
    play.arrive(whenever);
    play.arrive(whenever);
    play.pass(MS);
    play.arrive(ask(0, 10 * MS));
    play.finish();
    play.assert_all_ended();
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_long_batch_is_cut_for_a_tighter_model_even_where_nothing_else_runs() {
    let tight = model(0, MS, MS, Some(10 * MS));
    let long = model(1, 4 * MS, MS, None);
    let mut play = Play::new(1, vec![tight, long]);
    play.arrive(ask(0, 10 * MS));
    play.pass(3 * MS);
    // Runs end before the next batch goes ahead.
    play.slowness = 0.9;
    let whenever = Ask { within: None, ..ask(1, MS) };
    for _ in 0..6 {
        play.arrive(whenever);
    }
    play.pass(5 * MS);
    play.arrive(ask(0, 10 * MS));
    play.finish();
    play.assert_all_ended();
    assert!(!play.log.contains("refused"), "{}", play.log);
    insta::assert_snapshot!(play.log);
}

#[test]
fn the_next_batch_goes_ahead_by_the_lead_and_the_hopeless_and_the_gone_leave_it() {
    let mut spec = model(0, 9 * MS, MS, Some(25 * MS));
    spec.settings.batch_max = 2;
    let mut play = Play::new(1, vec![spec]);
    play.slowness = 3.0;
    play.arrive(ask(0, 25 * MS));
    play.pass(MS);
    let kept = ask(0, 40 * MS);
    play.arrive(kept);
    let gone = play.arrive(kept);
    play.arrive(ask(0, 24 * MS));
    play.pass(MS);
    play.cancel(gone);
    play.pass(10 * MS);
    play.arrive(ask(0, 22 * MS));
    play.finish();
    play.assert_all_ended();
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_batch_made_hopeless_by_the_run_before_it_is_withdrawn_and_who_can_still_be_met_runs() {
    // Runs of one, two and three take 10, 11 and 12 ms.
    let mut play = Play::new(1, vec![model(0, 9 * MS, MS, Some(60 * MS))]);
    play.slowness = 2.0;
    play.arrive(ask(0, 12 * MS));
    play.pass(MS);
    play.arrive(ask(0, 60 * MS));
    play.arrive(ask(0, 24 * MS));
    play.arrive(ask(0, 60 * MS));
    // The second batch is given to the executor ahead of the first one's expected end; now all run as fast as said.
    play.pass(9 * MS);
    play.slowness = 1.0;
    play.finish();
    play.assert_all_ended();
    assert_eq!((play.late(), play.refused()), (1, 1));
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_batch_that_can_still_be_met_after_a_long_run_is_left_where_it_is() {
    let mut play = Play::new(1, vec![model(0, 9 * MS, MS, Some(60 * MS))]);
    play.slowness = 2.0;
    play.arrive(ask(0, 12 * MS));
    play.pass(MS);
    play.arrive(ask(0, 31 * MS));
    play.finish();
    assert!(!play.log.contains("withdrawn"), "{}", play.log);
    play.assert_all_ended();
}

#[test]
fn a_batch_behind_a_run_that_does_not_end_goes_to_the_executor_that_is_idle_first() {
    // A run of one takes 10 ms; the first takes 50.
    let mut play = Play::new(2, vec![model(0, 9 * MS, MS, Some(60 * MS))]);
    play.slowness = 5.0;
    play.arrive(ask(0, 60 * MS));
    play.slowness = 1.0;
    play.pass(MS);
    play.arrive(ask(0, 12 * MS));
    play.pass(MS);
    // Given to the first executor ahead of its expected end, at 10 ms; the second is idle at 11.
    play.arrive(ask(0, 25 * MS));
    play.finish();
    play.assert_all_ended();
    assert!(play.log.contains("batch 2 is withdrawn"), "{}", play.log);
    assert_eq!((play.late(), play.refused()), (0, 0), "{}", play.log);
}

#[test]
fn a_batch_behind_a_straggler_goes_to_the_executor_that_is_idle_as_soon_as_that_is_seen() {
    // A run of one takes 10 ms; that on the first executor takes 60, and gets the next batch ahead of its expected end.
    let mut play = Play::new(2, vec![model(0, 9 * MS, MS, Some(100 * MS))]);
    play.slowness = 6.0;
    play.arrive(ask(0, 100 * MS));
    play.slowness = 1.0;
    play.pass(MS / 10);
    play.arrive(ask(0, 100 * MS));
    play.pass(5 * MS);
    play.arrive(ask(0, 25 * MS));
    play.finish();
    play.assert_all_ended();
    assert_eq!((play.late(), play.refused()), (0, 0));
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_failed_batch_and_a_lost_executor_end_their_requests_and_no_others() {
    let mut play = Play::new(2, vec![model(0, 4 * MS, MS, None)]);
    let whenever = Ask { within: None, ..ask(0, MS) };
    for _ in 0..4 {
        play.arrive(whenever);
        play.pass(Duration::from_micros(100));
    }
    play.end(ExecutorId(0), true);
    play.switch(ExecutorId(1));
    play.arrive(whenever);
    play.switch(ExecutorId(0));
    play.finish();
    play.assert_all_ended();
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_policy_that_is_changed_takes_effect_on_those_that_wait() {
    // With `fixed`, a batch of 4 is waited for; with `single` each of the three goes at once, one after the other.
    let mut spec = model(0, MS, MS, None);
    spec.policy = "fixed".to_owned();
    spec.settings.preferred = vec![4];
    spec.settings.delay = 1000 * MS;
    let mut play = Play::new(1, vec![spec]);
    let whenever = Ask { within: None, ..ask(0, MS) };
    for _ in 0..3 {
        play.arrive(whenever);
        play.pass(MS);
    }
    assert!(!play.log.contains("launch"), "{}", play.log);
    let single = vec![(VariantId(0), "single".to_owned())];
    let policies = PolicyNames {
        admission: "always".to_owned(),
        dispatch: "fair_share".to_owned(),
        batching: single,
    };
    play.feed(Event::PoliciesChanged { policies: Box::new(policies) });
    play.pass(7 * MS);
    play.assert_all_ended();
    assert_eq!(play.log.matches("ends").count(), 3, "{}", play.log);
}

#[test]
fn a_request_that_no_executor_can_serve_is_refused_by_any_admission() {
    for admission in &router::ADMISSIONS {
        let mut play = Play::new(1, vec![model(0, MS, MS, None)]);
        let policies =
            PolicyNames { admission: admission.name.to_owned(), ..PolicyNames::default() };
        play.feed(Event::PoliciesChanged { policies: Box::new(policies) });
        play.switch(ExecutorId(0));
        play.arrive(Ask { within: None, ..ask(0, MS) });
        play.assert_all_ended();
        assert!(play.log.contains("NoExecutor"), "{}", play.log);
    }
}
