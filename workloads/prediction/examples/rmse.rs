use selvedge_prediction::{rules::predict, track::Sample};
use std::collections::BTreeMap;
fn main() {
    let mut tracks: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for line in std::fs::read_to_string("/work/shared/data/movement/football_20hz_a.csv").unwrap().lines().skip(1) {
        let f: Vec<&str> = line.split(',').collect();
        if f[0] == "0" {
            continue;
        }
        let n = |i: usize| f[i].parse::<f64>().unwrap_or(0.0);
        tracks
            .entry(f[0].into())
            .or_default()
            .push(Sample { t_ms: (n(1) * 50.0) as u64, at: [n(2) * 1.05, n(3) * 0.68, n(4)] });
    }
    for noise in [0.0, 0.005, 0.02, 0.05, 0.1] {
        for hz in [1usize, 2, 4] {
            let mut seed = 1u64;
            let mut rnd = || {
                let mut s = 0.0;
                for _ in 0..12 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    s += (seed >> 40) as f64 / (1u64 << 24) as f64;
                }
                s - 6.0
            };
            let (mut ours, mut cv, mut n) = ([0.0; 4], [0.0; 4], [0.0; 4]);
            let t0 = std::time::Instant::now();
            let mut calls = 0;
            for truth in tracks.values() {
                let obs: Vec<Sample> = truth
                    .iter()
                    .map(|s| Sample { t_ms: s.t_ms, at: [s.at[0] + noise * rnd(), s.at[1] + noise * rnd(), s.at[2]] })
                    .collect();
                for i in 2 * hz..obs.len() {
                    let win: Vec<Sample> = (0..20).filter_map(|k| i.checked_sub(k * hz)).map(|j| obs[j]).collect();
                    for (k, h) in [100u32, 250, 500, 1000].into_iter().enumerate() {
                        let j = i + (h / 50) as usize;
                        if j >= truth.len() {
                            continue;
                        }
                        let p = predict(0, &win, h).unwrap();
                        calls += 1;
                        let d = (obs[i].t_ms - obs[i - hz].t_ms) as f64;
                        for a in 0..2 {
                            ours[k] += (p.at[a] - truth[j].at[a]).powi(2);
                            cv[k] += (obs[i].at[a] + (obs[i].at[a] - obs[i - hz].at[a]) / d * h as f64
                                - truth[j].at[a])
                                .powi(2);
                        }
                        n[k] += 1.0;
                    }
                }
            }
            let r =
                |s: [f64; 4]| (0..4).map(|k| format!("{:.4}", f64::sqrt(s[k] / n[k]))).collect::<Vec<_>>().join(" ");
            println!(
                "noise {noise} every {hz}: ours {} | cv {} | {:.2} us",
                r(ours),
                r(cv),
                t0.elapsed().as_secs_f64() * 1e6 / calls as f64
            );
        }
    }
}
