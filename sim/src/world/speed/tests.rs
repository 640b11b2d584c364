use super::*;

fn stress() -> Stress {
    Stress {
        executors: 4,
        models: 3,
        rate_factor: 0.6,
        slo: Duration::from_millis(100),
        requests: 3000,
        batching: batcher::ALL[0].name.to_owned(),
        seed: 1,
    }
}

#[test]
fn the_stress_is_served_in_batches_and_every_call_is_counted() {
    let speed = measure(&stress()).unwrap();
    assert_eq!(speed.requests, 3000);
    assert!(speed.attainment > 0.9 && speed.batch_mean > 4.0, "{speed:?}");
    assert!(speed.router > Duration::ZERO && speed.whole > Duration::ZERO);
    let counts: Vec<u64> = speed.calls.iter().map(|calls| calls.times.len()).collect();
    assert_eq!(counts[0], counts[1] + counts[2]);
    assert_eq!((counts[0], counts[3]), (counts[3] + counts[4] + counts[5], 3000));
    // Most arrivals wait for company.
    let batches = 3000.0 / speed.batch_mean;
    let launches = counts[1] as f64;
    assert!(launches > 0.8 * batches && launches < 1.2 * batches, "{counts:?}");
}

#[test]
fn the_router_that_is_told_again_ends_in_the_same_state() {
    let (stress, profile) = (stress(), profile());
    let asked = arrivals(&stress, 2000.0, 1000).unwrap();
    let mut world = Loop::new(&stress, &profile, &asked).unwrap();
    let (steps, ..) = world.run(100..900, || Duration::ZERO);
    let mut again = router(&stress, &profile).unwrap();
    tell(&mut again, &asked, &steps, stress.slo);
    assert_eq!(again.tally(), world.router.tally());
}

#[test]
fn an_objective_below_one_run_is_refused() {
    let error = measure(&Stress { slo: Duration::from_millis(6), ..stress() }).unwrap_err();
    assert!(error.to_string().starts_with("no batch of"), "{error}");
}
