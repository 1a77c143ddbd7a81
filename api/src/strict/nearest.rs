//! The name that was probably meant.

/// ` : did you mean "image"?`, or what could stand there.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    const MOST_LISTED: usize = 12;
    if let Some(near) = nearest(word, known.iter().copied()) {
        return format!("did you mean {near:?}?");
    }
    match known.len() {
        0 => "nothing can stand here".to_owned(),
        count if count <= MOST_LISTED => format!("known here: {}", known.join(", ")),
        count => format!("known here: {} and {} more", known[..MOST_LISTED].join(", "), count - MOST_LISTED),
    }
}

/// The nearest of the known names, if any is near enough to have been meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let folded = word.to_lowercase();
    let near = (word.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| (distance(&folded, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, name)| (*distance, name.len().abs_diff(word.len())))
        .map(|(_, name)| name)
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(from != to);
            let mut best = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_slips_of_the_hand() {
        let rows = [
            ("image", "imagee", 1),
            ("image", "iamge", 1),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
        ];
        for (a, b, want) in rows {
            assert_eq!(distance(a, b), want, "{a} {b}");
            assert_eq!(distance(b, a), want, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_if_it_is_near() {
        let known = ["image", "imagePullPolicy", "command", "args", "env", "envFrom"];
        assert_eq!(nearest("imagee", known), Some("image"));
        assert_eq!(nearest("Image", known), Some("image"));
        assert_eq!(nearest("comand", known), Some("command"));
        assert_eq!(nearest("imagepullpolicy", known), Some("imagePullPolicy"));
        assert_eq!(nearest("replicas", known), None);
    }
}
