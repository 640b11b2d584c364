//! A run that fails concerns its own requests only.

use crate::order::ask;
use crate::scripted::{Echo, FAIL, PANIC, gated};
use crate::world::*;

#[tokio::test]
async fn an_error_or_a_panic_of_one_run_is_a_clear_500_and_the_next_run_works() {
    let service = service(1, None);
    install(&service, loaded("m", MS, MS), Echo);
    let cases =
        [(FAIL, "the model failed: asked to"), (PANIC, "the model's run panicked: asked to panic")];
    for (bad, text) in cases {
        let failure = service.infer(request("m", &[bad])).await.unwrap_err();
        assert_eq!(failure.http(), 500);
        assert_eq!(failure.to_string(), format!("model 'm' version 1: {text}"));
        assert_eq!(answer(&service.infer(request("m", &[7])).await.unwrap()), [7]);
    }
    assert_eq!((service.tally().failed, service.tally().finished), (2, 2));
    assert_eq!(
        metric(&service, "punctual_batch_rows_count", &[]),
        2,
        "failed batches are not run ones"
    );
}

#[tokio::test]
async fn the_requests_of_a_failed_batch_fail_and_those_of_other_batches_do_not() {
    let service = service(1, None);
    let (model, mut gate) = gated();
    install(&service, loaded("m", 100_000 * MS, MS), model);
    install(&service, loaded("other", MS, MS), Echo);
    let first = ask(&service, request("m", &[0]));
    gate.next().await;
    let shared = [1, FAIL, 2].map(|number| ask(&service, request("m", &[number])));
    let apart = ask(&service, request("m", &[3, 3]));
    let other = ask(&service, request("other", &[4]));
    until(|| service.tally().arrived == 6).await;
    drop(gate);
    for asked in shared {
        assert_eq!(asked.await.unwrap().unwrap_err().http(), 500);
    }
    for asked in [first, apart, other] {
        asked.await.unwrap().unwrap();
    }
    assert_eq!((service.tally().failed, service.tally().finished), (3, 3));
}
