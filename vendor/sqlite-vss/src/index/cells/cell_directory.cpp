#include "index/cells/cell_directory.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/prefetch.h"

namespace vss {
namespace {

// Below so many cells each is measured; above, sign codes pick the ones worth it.
constexpr std::size_t measure_all = 128;
constexpr std::size_t measured_beside = 16;
constexpr std::uint32_t ranked_without_codes = 12;
constexpr std::size_t coded_by_one_ranking = 256;
constexpr float infinity = std::numeric_limits<float>::infinity();
// Of an element; squares of thousands such, and sums of many vectors, are still floats.
constexpr float longest = 1e15F;
// Vectors whose largest element lies between 2^-24 and 2^24 are taken as they are.
constexpr int ordinary_exponent = 24;

}  // namespace

CellSpace::CellSpace(std::size_t dim, Metric metric, bool spherical, std::uint64_t seed, std::vector<float> offset,
                     int exponent)
    : dim_(dim),
      metric_(metric),
      spherical_(spherical || metric == Metric::cosine),
      rotation_(dim, seed),
      offset_(std::move(offset)),
      exponent_(metric == Metric::cosine ? 0 : exponent) {}

int extreme_exponent(std::span<const float> v) {
    float most = 0;
    for (const float x : v) {
        most = std::max(most, std::abs(x));
    }
    const int exponent = most > 0 ? -std::ilogb(most) : 0;
    return std::abs(exponent) > ordinary_exponent ? std::clamp(exponent, -126, 126) : 0;
}

bool CellSpace::supports(ElementType type, Metric metric) {
    return type != ElementType::bit &&
           (metric == Metric::l2 || metric == Metric::inner_product || metric == Metric::cosine);
}

bool CellSpace::enter(const float* v, float* out, int exponent) const {
    bool whole = true;
    std::memcpy(out, v, dim_ * sizeof(float));
    std::memset(out + dim_, 0, (padded() - dim_) * sizeof(float));
    if (metric_ == Metric::cosine) {
        double square = 0;
        for (std::size_t i = 0; i < dim_; ++i) {
            square += static_cast<double>(v[i]) * v[i];
        }
        const auto inverse = square > 0 ? 1.0 / std::sqrt(square) : 0.0;
        for (std::size_t i = 0; i < dim_; ++i) {
            out[i] = static_cast<float>(out[i] * inverse);
        }
    } else {
        const float most = code_kernels().largest(out, padded());
        if (std::ldexp(static_cast<double>(most), exponent) > longest) {
            whole = false;
            std::for_each(out, out + dim_, [&](float& x) { x = x / most * longest; });
        } else if (exponent != 0) {
            std::for_each(out, out + dim_, [&](float& x) { x = std::ldexp(x, exponent); });
        }
    }
    rotation_.apply(out);
    if (!offset_.empty()) {
        code_kernels().add_scaled(out, offset_.data(), -1, padded());
    }
    return whole;
}

std::shared_ptr<CellDirectory> CellDirectory::clone() const {
    auto copy = std::shared_ptr<CellDirectory>(new CellDirectory(padded_, estimate_, spherical_));
    copy->live_ = live_;
    copy->infos_ = infos_;
    copy->stored_ = stored_;
    copy->batches_ = batches_;
    copy->batched_entries_ = batched_entries_;
    copy->centroids_ = centroids_;
    copy->coarse_ = coarse_.load();
    copy->ranked_ = ranked_.load();
    return copy;
}

std::shared_ptr<CellDirectory> CellDirectory::clone_stored() const {
    std::shared_ptr<CellDirectory> copy = clone();
    // Counts are other than stored where something waits.
    for (const auto& batch : batches_) {
        for (std::size_t i = 0; i < batch->size(); ++i) {
            if (!waits(*batch, i)) {
                continue;
            }
            const StoredCell& stored = stored_[batch->cell(i)];
            CellInfo& info = copy->infos_.change(batch->cell(i));
            info.version = stored.version;
            info.primaries = stored.primaries;
            info.entries = stored.entries;
        }
    }
    copy->batches_.clear();
    copy->batched_entries_ = 0;
    return copy;
}

CodeBlocks* CellDirectory::changing_codes() {
    std::shared_ptr<CodeBlocks> codes = coarse_.load();
    constexpr long mine = 2;  // coarse_ and codes
    if (codes != nullptr && codes.use_count() > mine) {
        codes = codes->clone();
        coarse_ = codes;
    }
    return codes.get();
}

void CellDirectory::centroid(std::uint32_t cell, float* out) const {
    code_kernels().expand_u8(centroid_bytes(cell), infos_[cell].scale, padded_, out);
}

std::uint32_t CellDirectory::next_id() const {
    if (live_ < infos_.size()) {
        for (std::uint32_t cell = 0; cell < infos_.size(); ++cell) {
            if (infos_[cell].version == 0) {
                return cell;
            }
        }
    }
    return static_cast<std::uint32_t>(infos_.size());
}

void CellDirectory::reserve(std::size_t cells) {
    infos_.reserve(cells);
    stored_.reserve(cells);
    centroids_.reserve(cells / shared_cells + 1);
}

void CellDirectory::grow(std::uint32_t cell) {
    if (cell < infos_.size()) {
        return;
    }
    infos_.grow(cell + 1);
    stored_.grow(cell + 1);
    while (centroids_.size() * shared_cells <= cell) {
        centroids_.push_back(std::make_shared<std::vector<std::uint8_t>>(shared_cells * padded_));
    }
    if (CodeBlocks* codes = changing_codes(); codes != nullptr) {
        const RowCode none{infinity, 0, std::vector<std::uint8_t>(padded_ / 8)};
        while (codes->size() <= cell) {
            codes->push(static_cast<std::uint32_t>(codes->size()), none);
        }
    }
}

std::uint8_t* CellDirectory::changing_centroid(std::uint32_t cell) {
    return own(centroids_[cell / shared_cells]).data() + cell % shared_cells * padded_;
}

void CellDirectory::set_centroid(std::uint32_t cell, const float* centroid) {
    const float most = code_kernels().largest(centroid, padded_);
    grow(cell);
    infos_.change(cell).scale = most / 127;
    std::uint8_t* bytes = changing_centroid(cell);
    code_kernels().quantize(centroid, most > 0 ? 127 / most : 0, 0, -127, 127, padded_, bytes);
    for (std::size_t i = 0; i < padded_; ++i) {
        bytes[i] = static_cast<std::uint8_t>(bytes[i] ^ 0x80U);  // two's complement to an offset of 128
    }
    refresh(cell);
}

void CellDirectory::put(std::uint32_t cell, const CellInfo& info, const std::uint8_t* centroid, std::uint32_t taken_to,
                        std::uint32_t checksum) {
    grow(cell);
    live_ += info.version != 0 ? 1U : 0U;
    live_ -= infos_[cell].version != 0 ? 1U : 0U;
    infos_.change(cell) = info;
    set_stored(cell, taken_to);
    stored_.change(cell).checksum = checksum;
    if (centroid == nullptr) {
        return;
    }
    made_.reset();
    std::memcpy(changing_centroid(cell), centroid, padded_);
    if (CodeBlocks* codes = changing_codes(); codes != nullptr) {
        code(cell, *codes);
    }
}

void CellDirectory::erase(std::uint32_t cell) {
    made_.reset();
    live_ -= infos_[cell].version != 0 ? 1U : 0U;
    infos_.change(cell) = {};
    if (CodeBlocks* codes = changing_codes(); codes != nullptr) {
        code(cell, *codes);
    }
}

void CellDirectory::set_stored(std::uint32_t cell, std::uint32_t taken_to) {
    const CellInfo& info = infos_[cell];
    StoredCell& stored = stored_.change(cell);
    stored = {info.version, info.primaries, info.entries, taken_to, stored.checksum};
}

bool CellDirectory::add_batch(std::shared_ptr<const CodeBatch> batch) {
    for (std::size_t i = 0; i < batch->size(); ++i) {
        const std::uint32_t cell = batch->cell(i);
        if (cell >= infos_.size()) {
            return false;
        }
        if (!waits(*batch, i)) {
            continue;
        }
        if (infos_[cell].version == 0) {
            return false;
        }
        CellInfo& info = infos_.change(cell);
        info.version = batch->version();
        ++info.entries;
        info.primaries += (batch->entry(i) & second_copy) == 0 ? 1U : 0U;
    }
    batched_entries_ += batch->size();
    batches_.push_back(std::move(batch));
    return true;
}

std::shared_ptr<const CodeBatch> CellDirectory::batch(std::uint32_t number, std::uint64_t version) const {
    const std::size_t at = batches_.empty() ? 0 : std::size_t{number} - batches_.front()->number();
    return at < batches_.size() && batches_[at]->number() == number && batches_[at]->version() == version ? batches_[at]
                                                                                                          : nullptr;
}

void CellDirectory::drop_first_batch() {
    batched_entries_ -= batches_.front()->size();
    batches_.pop_front();
}

void CellDirectory::append_waiting(std::uint32_t cell, CodeBlocks& out) const {
    const std::uint32_t taken_to = stored_[cell].taken_to;
    for (const auto& batch : batches_) {
        if (batch->number() >= taken_to) {
            batch->append(cell, out);
        }
    }
}

// What is derived from the centroid's bytes.
void CellDirectory::refresh(std::uint32_t cell) {
    made_.reset();
    stored_.change(cell).checksum = 0;
    CellInfo& info = infos_.change(cell);
    live_ += info.version == 0 ? 1U : 0U;
    info.version = info.version == 0 ? 1 : info.version;
    const std::uint8_t* bytes = centroid_bytes(cell);
    std::int64_t square = 0;
    for (std::size_t first = 0; first < padded_; first += 64) {
        std::int32_t part = 0;
        for (std::size_t i = first; i < first + 64; ++i) {
            const std::int32_t value = static_cast<std::int32_t>(bytes[i]) - 128;
            part += value * value;
        }
        square += part;
    }
    info.norm = info.scale * static_cast<float>(std::sqrt(static_cast<double>(square)));
    if (CodeBlocks* codes = changing_codes(); codes != nullptr) {
        code(cell, *codes);
    }
}

// The centroid's sign code; one that no estimate prefers where there is no such cell.
void CellDirectory::code(std::uint32_t cell, CodeBlocks& codes) const {
    const CellInfo& info = infos_[cell];
    if (info.version == 0) {
        codes.set(cell, cell, {infinity, 0, std::vector<std::uint8_t>(padded_ / 8)});
        return;
    }
    std::vector<float> c(padded_);
    centroid(cell, c.data());
    if (spherical_ && info.norm > 0) {
        for (float& v : c) {
            v /= info.norm;
        }
    }
    RowCode made;
    encode_row(spherical_ ? Estimate::product : estimate_, c.data(), nullptr, padded_, made);
    codes.set(cell, cell, made);
}

// Null as long as making them does not pay.
std::shared_ptr<const CodeBlocks> CellDirectory::codes_for_ranking() const {
    std::shared_ptr<CodeBlocks> codes = coarse_.load();
    if (codes != nullptr || ++ranked_ <= ranked_without_codes) {
        return codes;
    }
    const std::unique_lock making(making_, std::try_to_lock);
    if (!making.owns_lock()) {
        return nullptr;  // another thread is at it
    }
    if (made_ == nullptr) {
        made_ = std::make_shared<CodeBlocks>(padded_);
    }
    const std::size_t end = std::min(made_->size() + coded_by_one_ranking, infos_.size());
    made_->reserve(infos_.size());
    for (auto cell = static_cast<std::uint32_t>(made_->size()); cell < end; ++cell) {
        made_->resize(cell + 1);
        code(cell, *made_);
    }
    if (end < infos_.size()) {
        return nullptr;
    }
    coarse_ = made_;
    return std::move(made_);
}

RankedCell CellDirectory::measure(const CodeQuery& query, std::uint32_t cell, For purpose) const {
    const CellInfo& info = infos_[cell];
    const std::int32_t sum = code_kernels().dot_u8(centroid_bytes(cell), query.small.data(), padded_);
    const float product = info.scale * query.small_step * static_cast<float>(sum - 128 * query.small_sum);
    float score = -product;
    if (spherical_ || (estimate_ == Estimate::product && purpose == For::row)) {
        score = info.norm > 0 ? -product / info.norm : 0;
    } else if (estimate_ == Estimate::l2) {
        score = info.norm * info.norm - 2 * product;
    }
    // Not a number only in a damaged table; nothing could be sorted by it.
    return {score == score ? score : infinity, cell, product};
}

void CellDirectory::begin_ranking(const CodeQuery& query, CellRanking& ranking) const {
    ranking.pool.clear();
    ranking.measured_all = false;
    ranking.limit = -infinity;
    ranking.estimates.clear();
    if (infos_.size() <= measure_all) {
        return;
    }
    const std::shared_ptr<const CodeBlocks> codes = codes_for_ranking();
    if (codes == nullptr) {
        return;
    }
    ranking.estimates.resize(codes->blocks() * block_rows);
    for (std::size_t b = 0; b < codes->blocks(); ++b) {
        code_kernels().scan(codes->block(b), codes->block(std::min(b + 2, codes->blocks() - 1)), query.tables, padded_,
                            0, infinity, ranking.estimates.data() + b * block_rows);
    }
}

void CellDirectory::rank_more(const CodeQuery& query, std::size_t count, For purpose, CellRanking& ranking,
                              std::vector<RankedCell>& out) const {
    const std::size_t measured = count + count / 2 + measured_beside;
    if (!ranking.measured_all) {
        ranking.measured_all = ranking.estimates.empty() || measured >= live_;
        // Which they are is known before the first is needed, so that their centroids are on their way from memory.
        static thread_local std::vector<std::uint32_t> cells;
        cells.clear();
        if (ranking.measured_all) {
            for (std::uint32_t cell = 0; cell < infos_.size(); ++cell) {
                if (infos_[cell].version != 0 &&
                    (ranking.estimates.empty() || !(ranking.estimates[cell] < ranking.limit))) {
                    cells.push_back(cell);
                }
            }
        } else {
            const float low = ranking.limit;
            ranking.limit = code_kernels().limit_of(ranking.estimates.data(), infos_.size(), measured);
            cells.resize(infos_.size() + 1);
            cells.resize(code_kernels().places_between(ranking.estimates.data(), infos_.size(), low, ranking.limit,
                                                       cells.data()));
        }
        constexpr std::size_t ahead = 4;
        const auto fetch = [&](std::size_t i) {
            if (i < cells.size()) {
                prefetch(&infos_[cells[i]]);
                prefetch(centroid_bytes(cells[i]), padded_);
            }
        };
        for (std::size_t i = 0; i < ahead; ++i) {
            fetch(i);
        }
        for (std::size_t i = 0; i < cells.size(); ++i) {
            fetch(i + ahead);
            ranking.pool.push_back(measure(query, cells[i], purpose));
        }
    }
    const auto nearer = [](const RankedCell& a, const RankedCell& b) {
        return a.score < b.score || (a.score == b.score && a.cell < b.cell);
    };
    std::vector<RankedCell>& pool = ranking.pool;
    const std::size_t wanted = count > out.size() ? std::min(count - out.size(), pool.size()) : 0;
    const auto end = pool.begin() + static_cast<std::ptrdiff_t>(wanted);
    if (end != pool.end() && wanted > 0) {
        std::nth_element(pool.begin(), end, pool.end(), nearer);
    }
    std::sort(pool.begin(), end, nearer);
    out.insert(out.end(), pool.begin(), end);
    pool.erase(pool.begin(), end);
}

void CellDirectory::rank_finely(const CodeQuery& query, std::vector<RankedCell>& out) const {
    const CodeKernels& kernels = code_kernels();
    std::vector<float> c(padded_);
    out.clear();
    for (std::uint32_t cell = 0; cell < infos_.size(); ++cell) {
        const CellInfo& info = infos_[cell];
        if (info.version == 0) {
            continue;
        }
        centroid(cell, c.data());
        RankedCell at{0, cell, kernels.dot(query.vector.data(), c.data(), padded_)};
        kernels.add_scaled(c.data(), query.vector.data(), -1, padded_);
        at.square = kernels.dot(c.data(), c.data(), padded_);
        if (spherical_) {
            at.score = info.norm > 0 ? -at.product / info.norm : 0;
        } else {
            at.score = estimate_ == Estimate::l2 ? at.square - query.square : -at.product;
        }
        at.score = at.score == at.score ? at.score : infinity;
        out.push_back(at);
    }
    std::sort(out.begin(), out.end(), [&](const RankedCell& a, const RankedCell& b) {
        // Directions that are nearly the same differ in floats only by their distance.
        return spherical_ && estimate_ == Estimate::l2 ? a.square < b.square : a.score < b.score;
    });
}

void CellDirectory::rank(const CodeQuery& query, std::size_t count, For purpose, std::vector<RankedCell>& out) const {
    static thread_local CellRanking ranking;
    out.clear();
    begin_ranking(query, ranking);
    rank_more(query, count, purpose, ranking, out);
    if (out.empty() && count > 0 && !ranking.measured_all) {
        ranking.estimates.clear();  // none of them was a number
        rank_more(query, count, purpose, ranking, out);
    }
}

}  // namespace vss
