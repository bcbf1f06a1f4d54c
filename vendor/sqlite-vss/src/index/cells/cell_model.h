// How many of a query's neighbours are expected in the cells that were not scanned. No SQLite in here.
//
// A row x of a cell with centroid c lies at the distance r from it, in a direction u of its own. Of a query q
//   |q - x|^2 = |q - c|^2 + r^2 - 2 |q - c| r t,   t the cosine between q - c and u
//   -<q, x>   = -<q, c> - |q| r t,                 t the cosine between q and u
// In many dimensions t is about normal. Its mean and deviation are those that this query has shown in the cells it has
// scanned, where sign codes estimate t for every row (their own error is subtracted): so a query from elsewhere, or
// rows without structure, are noticed while the query is asked. The chance that a row of a cell is nearer than the k-th
// found follows from |q - c| and from mean and deviation of r, which the directory keeps for each cell.
//
// (Close to it: Quake, arXiv 2506.03437, which estimates recall from volumes of caps of the sphere; Auncel, NSDI 2023.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "index/cells/cell_directory.h"

namespace vss {

// E |cos| between a random direction and its signs, in many dimensions: sqrt(2 / pi).
inline constexpr float sign_cosine = 0.79788456F;
// The sine of that angle, and the tangent.
inline constexpr float sign_sine = 0.60280977F;
inline constexpr float sign_tangent = 0.75551F;

// Above it lies a normal number with that chance, for chances below a half.
[[nodiscard]] double normal_quantile(double chance);

// What |rescale| of a sign code tells of its row's distance to the centroid.
[[nodiscard]] float radius_per_rescale(Estimate estimate, std::size_t padded);
// Sets what `info` says of the distances to the centroid, by the first copies among the cell's entries.
void measure_radii(const CodeBlocks& codes, Estimate estimate, std::size_t padded, CellInfo& info);

// What is expected where: rows that are nearer than a limit, by cell.
struct Expected {
    std::vector<float> rows;  // by cell; 0 of those scanned
    double left = 0;          // in all cells not scanned
    double whole = 0;         // the same when it was made
    float limit = 0;          // it was made for
    // Where there are many cells, those that sums after the first of a query look at: the ones in which most is
    // expected, and a sample of the others.
    std::vector<std::uint32_t> looked_at;
    std::size_t likely = 0;  // of looked_at: come first

    // A new query: nothing is known.
    void restart() {
        left = std::numeric_limits<double>::infinity();
        looked_at.clear();
    }
    // The cell is scanned, so nothing is missed in it.
    void scanned(std::uint32_t cell) {
        if (cell < rows.size()) {
            left -= static_cast<double>(rows[cell]);
            rows[cell] = 0;
        }
    }
    // So little is left of what was summed that rounding may have made it.
    [[nodiscard]] bool is_worn() const { return left < 1e-4 * whole; }
};

class MissModel {
  public:
    // Takes over what the directory says of its cells.
    void use(const CellDirectory& directory);
    // What cosines are on the average, as far as it is known: counts as some rows of each query.
    void suppose(float mean, float variance) {
        mean_ = mean;
        variance_ = variance;
    }
    // Until the next query begins only so many rows of each cell count; as many numbers as there are cells, and up to a
    // multiple of 8. They must outlive it.
    void count_only(std::span<const float> rows) { counted_ = rows; }
    // Of this query alone.
    [[nodiscard]] bool seen(double& mean, double& variance) const;
    // A new query: where all cells are, as far as sign codes of centroids tell; empty: all will be measured.
    void begin(const CellSpace& space, const CodeQuery& query, std::span<const float> scores);
    // Centroids' places are known without an error to speak of.
    void trust_places() { place_error_ = 0; }
    // A centroid's place is known exactly.
    void place(const RankedCell& cell);
    // The cell is about to be scanned.
    [[nodiscard]] CosineTerms terms(float offset, float slack, float shift) const;
    [[nodiscard]] CosineSums& sums() { return sums_; }
    // What sums() say of the cell just scanned is taken over.
    void end_cell();
    void scanned(std::uint32_t cell) { offsets_[cell] = far_; }
    // Rows, first copies, that a search scans, beside the `cells` that it has, until no more than `per_cell` times the
    // number of cells are expected in the others; the cells in which most are expected come first, more or less.
    [[nodiscard]] double rows_until(const Expected& expected, double per_cell, double cells) const;
    // Rows nearer than `limit` in the cells that were not scanned.
    void expect(float limit, Expected& out);

  private:
    static constexpr float far_ = 1e30F;

    void choose_likely(Expected& out) const;
    [[nodiscard]] float blurred(std::size_t cell, float least_share) const;
    [[nodiscard]] float expect_of_chosen(const ChanceTerms& terms, float least_share, Expected& out);

    std::vector<float> norms_;  // by cell, and up to a multiple of 8
    std::vector<float> radii_;
    std::vector<float> spreads_;
    std::vector<float> farthest_;
    std::vector<float> rows_;
    std::span<const float> counted_;  // rows_, or what count_only() was given
    std::vector<float> scores_;
    std::vector<float> offsets_;  // |q - c|^2, or -<q, c>
    std::array<float, 4> place_ = {};
    Estimate estimate_ = Estimate::l2;
    std::size_t padded_ = 0;
    float radius_factor_ = 0;
    float query_norm_ = 0;
    float smallest_share_ = 0;                  // of a cell: its radius in lengths of its centroid
    float place_error_ = 0;                     // deviation of <q, c>, for a centroid of length 1
    std::vector<float> blurred_;                // radii_, none smaller than that error of its centroid
    std::array<std::vector<float>, 6> chosen_;  // of a sum's cells: the fields of CellFacts, and what is expected
    float mean_ = 0;
    float variance_ = 0;
    CosineSums sums_;  // of one cell
    CosineSums told_;  // of all of this query
};

}  // namespace vss
