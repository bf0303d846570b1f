//! Axes as a picture: for each a row, with the rate, the processor time and the memory over it.

use plotters::prelude::*;

use crate::axes::{Axis, Point};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 200;
/// Readable on light paper and on dark.
const PAPER: RGBColor = RGBColor(250, 250, 248);
const INK: RGBColor = RGBColor(31, 78, 121);

type Figure = fn(&Point) -> f64;

/// What is drawn over each axis.
const FIGURES: [(&str, Figure); 3] = [
    ("events a second", |point| point.rate),
    ("µs per event", |point| point.each),
    ("peak MiB", |point| point.peak / 1_048_576.0),
];

/// An SVG picture of them, an axis a row.
///
/// # Panics
/// When it cannot be drawn.
pub(crate) fn svg(axes: &[Axis]) -> String {
    let mut text = String::new();
    let rows = u32::try_from(axes.len()).expect("few axes");
    {
        let size = (WIDTH * 3, HEIGHT * rows);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&PAPER).expect("it can be drawn");
        let mut cells = area.split_evenly((axes.len(), FIGURES.len())).into_iter();
        for axis in axes {
            for ((figure, of), cell) in FIGURES.iter().zip(cells.by_ref()) {
                let points = axis.points.iter().filter(|point| axis.is_timed(point));
                let points: Vec<_> = points.map(|point| (point.at, of(point))).collect();
                draw(&cell, &format!("{figure} by {}", axis.title), &points);
            }
        }
        area.present().expect("it can be drawn");
    }
    text
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    points: &[(f64, f64)],
) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .caption(title, ("sans-serif", 13))
        .x_label_area_size(22)
        .y_label_area_size(48)
        .build_cartesian_2d((first.0..last.0 * 1.01).log_scale(), 0.0..most * 1.1)
        .expect("it can be drawn");
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|at| short(*at))
        .y_label_formatter(&|value| short(*value))
        .draw()
        .expect("it can be drawn");
    chart.draw_series(LineSeries::new(points.to_vec(), &INK)).expect("it can be drawn");
    let dots = points.iter().map(|point| Circle::new(*point, 3, INK.filled()));
    chart.draw_series(dots).expect("it can be drawn");
}

/// `20k` for twenty thousand.
fn short(value: f64) -> String {
    match value {
        _ if value >= 999_999.5 => format!("{:.1}M", value / 1e6).replace(".0", ""),
        _ if value >= 1_000.0 => format!("{:.1}k", value / 1e3).replace(".0", ""),
        _ if value >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_axis_has_three_plots() {
        let point = |at| Point { at, rate: 5.0 * at, each: 20.0, peak: 3e7, all: 1.0 };
        let title = "functions mapped".to_owned();
        let axis = Axis { title, points: [1.0, 10.0, 1_000.0].map(point).into() };
        let picture = svg(&[axis]);
        for figure in ["events a second", "µs per event", "peak MiB"] {
            assert!(picture.contains(&format!("{figure} by functions mapped")), "{picture}");
        }
        assert_eq!(picture.matches("<circle").count(), 9);
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.5, 7.0, 64.0, 999.0, 1_000.0, 1_500.0, 1_000_000.0].map(short);
        assert_eq!(all, ["0", "0.5", "7", "64", "999", "1k", "1.5k", "1M"]);
    }
}
