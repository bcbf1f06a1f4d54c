#include "storage/faiss_bytes.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "base/types.h"
#include "storage/faiss_codings.h"
#include "storage/faiss_transforms.h"

namespace vss {
namespace {

constexpr int deepest = 8;
constexpr std::size_t most_transforms = 16;

std::optional<std::size_t> product(std::size_t a, std::size_t b) {
    std::size_t out = 0;
    return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional(out);
}

// Codes one after the other.
class CodedVectors final : public StoredVectors {
  public:
    CodedVectors(std::unique_ptr<Coding> coding, Bytes codes) : coding_(std::move(coding)), codes_(codes) {
        is_lossy_ = coding_->is_lossy();
    }
    void read(std::size_t i, float* out) const override { coding_->decode_at(codes_, i, out); }

  private:
    std::unique_ptr<Coding> coding_;
    Bytes codes_;
};

// Inverted lists: codes in lists, perhaps of what is left after the list's centroid.
class ListedVectors final : public StoredVectors {
  public:
    struct Part {
        std::size_t list = 0;
        std::size_t first = 0;  // position of its first vector
        Bytes codes;
    };
    ListedVectors(std::unique_ptr<Coding> coding, std::vector<Part> parts, std::unique_ptr<StoredVectors> centroids)
        : coding_(std::move(coding)), parts_(std::move(parts)), centroids_(std::move(centroids)) {
        is_lossy_ = coding_->is_lossy();
    }
    void read(std::size_t i, float* out) const override {
        const auto after = std::upper_bound(parts_.begin(), parts_.end(), i,
                                            [](std::size_t at, const Part& part) { return at < part.first; });
        const Part& part = *std::prev(after);
        coding_->decode_at(part.codes, i - part.first, out);
        if (centroids_ != nullptr) {
            std::vector<float> centroid(dim_);
            centroids_->read(part.list, centroid.data());
            std::transform(out, out + dim_, centroid.begin(), out, std::plus<>());
        }
    }

  private:
    std::unique_ptr<Coding> coding_;
    std::vector<Part> parts_;                   // none is empty, by `first`
    std::unique_ptr<StoredVectors> centroids_;  // of what is left after them; none: codes are of whole vectors
};

Status damaged(std::string_view what) {
    return Status::corrupt(cat("the Faiss index in it is damaged: ", what));
}

Status not_known(std::string_view what) {
    return {Code::unsupported, cat("a Faiss index ", what,
                                   " does not give its vectors back here; where the program that made it still has "
                                   "them, add them to a new table, or to an index such as Flat, SQ8 or PQ first")};
}

// What Faiss has that the reader has not, by its users' names.
std::string kind_words(const std::string& kind) {
    constexpr std::array<std::string_view, 17> additive = {"IxRQ", "IxRq", "IxLS", "IxPR", "IxPL", "IwRQ",
                                                           "IwRq", "IwLS", "IwPR", "IwPL", "ILfs", "IRfs",
                                                           "IPRf", "IPLf", "IVLf", "IVRf", "NPLf"};
    if (std::find(additive.begin(), additive.end(), kind) != additive.end()) {
        return cat("of kind ", kind, ", an additive quantizer,");
    }
    return cat("of kind ", kind, kind == "IxHe" || kind == "IxHE" ? ", LSH," : "");
}

}  // namespace

class FaissReader {
  public:
    explicit FaissReader(Bytes bytes) : rest_(bytes) {}

    Status index(std::unique_ptr<StoredVectors>& out, int depth = 0);
    [[nodiscard]] bool is_at_end() const { return rest_.empty(); }

  private:
    struct Header {
        std::size_t dim = 0;
        std::size_t size = 0;
        int metric = 1;
    };

    Status take(std::size_t count, Bytes& out) {
        if (count > rest_.size()) {
            return damaged(cat("expected ", count, " more bytes, got ", rest_.size()));
        }
        out = rest_.first(count);
        rest_ = rest_.subspan(count);
        return Status::ok();
    }
    template <class Number>
    Status number(Number& out) {
        Bytes bytes;
        VSS_TRY(take(sizeof out, bytes));
        std::memcpy(&out, bytes.data(), sizeof out);
        return Status::ok();
    }
    template <class... Numbers>
    Status numbers(Numbers&... out) {
        Status status = Status::ok();
        static_cast<void>(((status = number(out)).is_ok() && ...));
        return status;
    }
    // A number of items, then these; `width`: bytes of one.
    Status items(std::size_t width, std::size_t& count, Bytes& out) {
        std::uint64_t said = 0;
        VSS_TRY(number(said));
        const auto bytes = product(said, width);
        if (!bytes) {
            return damaged(cat(said, " items"));
        }
        count = said;
        return take(*bytes, out);
    }
    Status skip_items(std::size_t width) {
        std::size_t count = 0;
        Bytes bytes;
        return items(width, count, bytes);
    }
    Status floats(std::size_t expected, std::string_view what, Bytes& out) {
        std::size_t count = 0;
        VSS_TRY(items(sizeof(float), count, out));
        return count == expected ? Status::ok() : damaged(cat(what, ": expected ", expected, " numbers, got ", count));
    }
    Status name(std::string& out) {
        Bytes bytes;
        VSS_TRY(take(4, bytes));
        out.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const bool printable = std::all_of(out.begin(), out.end(), [](char c) { return c > ' ' && c < 127; });
        return printable ? Status::ok() : damaged("it does not begin with the name of an index");
    }
    Status header(Header& out);
    // `count` codes, in a vector of bytes (`width` 1) or of words (4).
    Status codes(const Header& header, std::unique_ptr<Coding> coding, std::size_t width,
                 std::unique_ptr<StoredVectors>& out);
    Status scalar_codes(const Header& header, std::unique_ptr<Coding>& out);
    Status product_codes(const Header& header, std::unique_ptr<ProductCodes>& out);
    Status fast_scan_codes(std::unique_ptr<ProductCodes> codes, std::int32_t block, std::uint64_t parts,
                           std::unique_ptr<Coding>& out);
    Status fast_scan(const Header& header, std::unique_ptr<StoredVectors>& out);
    // Inverted lists, as they are read.
    struct Lists {
        std::uint64_t count = 0;
        std::unique_ptr<Coding> coding;
        std::uint64_t code_size = 0;
        bool is_residual = false;
        std::vector<ListedVectors::Part> parts;
        std::vector<std::int64_t> ids;

        void add(std::uint64_t list, Bytes codes, Bytes numbers) {
            const std::size_t first = ids.size();
            parts.push_back({list, first, codes});
            ids.resize(first + numbers.size() / sizeof(std::int64_t));
            std::memcpy(ids.data() + first, numbers.data(), numbers.size());
        }
    };
    Status list_codes(const std::string& kind, const Header& header, Lists& out);
    Status array_lists(const Header& header, Lists& out);
    Status block_lists(const Header& header, Lists& out);
    Status lists(const std::string& kind, const Header& header, int depth, std::unique_ptr<StoredVectors>& out);
    Status skip_graph(std::size_t size);
    Status transform(Transform& out);
    Status transformed(const Header& header, int depth, std::unique_ptr<StoredVectors>& out);
    Status mapped(const Header& header, int depth, std::unique_ptr<StoredVectors>& out);
    static Status matches(const StoredVectors& inner, const Header& header) {
        return inner.dim() == header.dim && inner.size() == header.size
                   ? Status::ok()
                   : damaged(cat("expected ", header.size, " vectors of ", header.dim, " dimensions, got ",
                                 inner.size(), " of ", inner.dim()));
    }

    Bytes rest_;
};

Status FaissReader::header(Header& out) {
    std::int32_t dim = 0;
    std::int64_t size = 0;
    std::int64_t unused = 0;
    std::uint8_t is_trained = 0;
    std::int32_t metric = 0;
    VSS_TRY(numbers(dim, size, unused, unused, is_trained, metric));
    if (metric > 1) {
        float argument = 0;
        VSS_TRY(number(argument));
    }
    if (dim < 1 || static_cast<std::size_t>(dim) > max_dimensions) {
        return damaged(cat(dim, " dimensions"));
    }
    if (size < 0 || size > std::numeric_limits<std::uint32_t>::max()) {
        return damaged(cat(size, " vectors"));
    }
    out = {static_cast<std::size_t>(dim), static_cast<std::size_t>(size), metric};
    return Status::ok();
}

Status FaissReader::codes(const Header& header, std::unique_ptr<Coding> coding, std::size_t width,
                          std::unique_ptr<StoredVectors>& out) {
    std::size_t count = 0;
    Bytes bytes;
    VSS_TRY(items(width, count, bytes));
    // No overflow: at most 2^32 codes of at most 2^18 bytes.
    if (coding->bytes_of(header.size) != bytes.size()) {
        return damaged(
            cat("expected ", header.size, " codes of ", coding->code_size(), " bytes, got ", bytes.size(), " bytes"));
    }
    out = std::make_unique<CodedVectors>(std::move(coding), bytes);
    return Status::ok();
}

Status FaissReader::scalar_codes(const Header& header, std::unique_ptr<Coding>& out) {
    const std::size_t dim = header.dim;
    std::int32_t type = 0;
    std::int32_t range = 0;
    float range_argument = 0;
    std::uint64_t said_dim = 0;
    std::uint64_t code_size = 0;
    VSS_TRY(numbers(type, range, range_argument, said_dim, code_size));
    if (type < 0 || type >= ScalarCodes::type_count || said_dim != dim) {
        return damaged(cat("a scalar quantizer of type ", type, " for ", said_dim, " dimensions"));
    }
    const auto kind = static_cast<ScalarCodes::Type>(type);
    std::size_t count = 0;
    Bytes trained;
    VSS_TRY(items(sizeof(float), count, trained));
    // There are none before it was trained, and no codes either.
    if (code_size != ScalarCodes::bytes_of(kind, dim) ||
        (count != ScalarCodes::trained_floats(kind, dim) && (count != 0 || header.size > 0))) {
        return damaged(cat("a scalar quantizer with codes of ", code_size, " bytes and ", count, " numbers"));
    }
    out = std::make_unique<ScalarCodes>(kind, dim, trained);
    return Status::ok();
}

Status FaissReader::product_codes(const Header& header, std::unique_ptr<ProductCodes>& out) {
    const std::size_t dim = header.dim;
    std::uint64_t said_dim = 0;
    std::uint64_t parts = 0;
    std::uint64_t bits = 0;
    VSS_TRY(numbers(said_dim, parts, bits));
    constexpr std::uint64_t most_bits = 16;
    if (said_dim != dim || parts == 0 || parts > dim || dim % parts != 0 || bits == 0 || bits > most_bits) {
        return damaged(
            cat("a product quantizer of ", parts, " parts and ", bits, " bits for ", said_dim, " dimensions"));
    }
    Bytes centroids;
    VSS_TRY(floats(dim << bits, "a product quantizer", centroids));
    out = std::make_unique<ProductCodes>(dim, parts, bits, centroids);
    return Status::ok();
}

Status FaissReader::fast_scan_codes(std::unique_ptr<ProductCodes> codes, std::int32_t block, std::uint64_t parts,
                                    std::unique_ptr<Coding>& out) {
    // Others are never made unless asked for, and then Faiss itself reads them back wrongly.
    constexpr std::int32_t most_block = 32;
    constexpr auto group = static_cast<std::int32_t>(FastScanCodes::group);
    const std::size_t bits = codes->bits();
    if (bits != 4 || block < group || block > most_block || block % group != 0) {
        return damaged(cat("a fast scan of ", block, " rows together and ", bits, " bits"));
    }
    auto packed = std::make_unique<FastScanCodes>(std::move(codes), static_cast<std::size_t>(block));
    if (parts != packed->parts()) {
        return damaged(cat("a fast scan of ", parts, " parts"));
    }
    out = std::move(packed);
    return Status::ok();
}

Status FaissReader::fast_scan(const Header& header, std::unique_ptr<StoredVectors>& out) {
    std::unique_ptr<ProductCodes> product;
    std::int32_t way = 0;
    std::int32_t block = 0;
    std::int32_t queries = 0;
    std::uint64_t padded = 0;
    std::uint64_t parts = 0;
    std::unique_ptr<Coding> coding;
    VSS_TRY(product_codes(header, product));
    VSS_TRY(numbers(way, block, queries, padded, parts));
    VSS_TRY(fast_scan_codes(std::move(product), block, parts, coding));
    return codes(header, std::move(coding), 1, out);
}

Status FaissReader::list_codes(const std::string& kind, const Header& header, Lists& out) {
    std::uint8_t by_residual = 0;
    out.code_size = header.dim * sizeof(float);
    std::unique_ptr<ProductCodes> product;
    if (kind == "IwFl") {
        out.coding = std::make_unique<PlainFloats>(header.dim);
    } else if (kind == "IwSq") {
        VSS_TRY(scalar_codes(header, out.coding));
        VSS_TRY(numbers(out.code_size, by_residual));
    } else if (kind == "IwPQ") {
        VSS_TRY(numbers(by_residual, out.code_size));
        VSS_TRY(product_codes(header, product));
        out.coding = std::move(product);
    } else {
        std::int32_t block = 0;
        std::uint64_t parts = 0;
        std::int32_t way = 0;
        std::uint64_t queries = 0;
        VSS_TRY(numbers(by_residual, out.code_size, block, parts, way, queries));
        VSS_TRY(product_codes(header, product));
        VSS_TRY(fast_scan_codes(std::move(product), block, parts, out.coding));
    }
    out.is_residual = by_residual != 0;
    return out.code_size == out.coding->code_size() ? Status::ok() : damaged("its inverted lists");
}

// Each list by its number and size, then all of them.
Status FaissReader::array_lists(const Header& header, Lists& out) {
    std::uint64_t said_lists = 0;
    std::uint64_t said_code_size = 0;
    std::string form;
    VSS_TRY(numbers(said_lists, said_code_size));
    VSS_TRY(name(form));
    if (said_lists != out.count || said_code_size != out.code_size || (form != "full" && form != "sprs")) {
        return damaged("its inverted lists");
    }
    std::size_t count = 0;
    Bytes sizes;
    VSS_TRY(items(sizeof(std::uint64_t), count, sizes));
    if (form == "full" ? count != out.count : count % 2 != 0) {
        return damaged("the sizes of its inverted lists");
    }
    const auto size_at = [&](std::size_t i) {
        std::uint64_t value = 0;
        std::memcpy(&value, sizes.data() + i * sizeof value, sizeof value);
        return value;
    };
    const std::size_t step = form == "full" ? 1 : 2;
    for (std::size_t i = 0; i < count; i += step) {
        const std::uint64_t list = step == 1 ? i : size_at(i);
        const std::uint64_t size = size_at(i + step - 1);
        if (size == 0) {
            continue;
        }
        const auto bytes = product(size, out.code_size);
        if (list >= out.count || size > header.size - out.ids.size() || !bytes) {
            return damaged("its inverted lists hold more than it says");
        }
        Bytes codes;
        Bytes numbers;
        VSS_TRY(take(*bytes, codes));
        VSS_TRY(take(size * sizeof(std::int64_t), numbers));
        out.add(list, codes, numbers);
    }
    return Status::ok();
}

// List after list, in blocks.
Status FaissReader::block_lists(const Header& header, Lists& out) {
    std::uint64_t said_lists = 0;
    std::uint64_t said_code_size = 0;  // none
    std::uint64_t per_block = 0;
    std::uint64_t block_bytes = 0;
    VSS_TRY(numbers(said_lists, said_code_size, per_block, block_bytes));
    if (said_lists != out.count) {
        return damaged("its inverted lists");
    }
    for (std::uint64_t list = 0; list < said_lists; ++list) {
        std::size_t size = 0;
        std::size_t count = 0;
        Bytes codes;
        Bytes numbers;
        VSS_TRY(items(sizeof(std::int64_t), size, numbers));
        VSS_TRY(items(1, count, codes));
        if (size > header.size - out.ids.size() || count != out.coding->bytes_of(size)) {
            return damaged("its inverted lists hold more than it says");
        }
        if (size > 0) {
            out.add(list, codes, numbers);
        }
    }
    return Status::ok();
}

Status FaissReader::lists(const std::string& kind, const Header& header, int depth,
                          std::unique_ptr<StoredVectors>& out) {
    Lists all;
    std::uint64_t probes = 0;
    VSS_TRY(numbers(all.count, probes));
    std::unique_ptr<StoredVectors> centroids;
    VSS_TRY(index(centroids, depth + 1));
    std::uint8_t map_type = 0;
    VSS_TRY(number(map_type));
    VSS_TRY(skip_items(sizeof(std::int64_t)));
    if (map_type == 2) {
        VSS_TRY(skip_items(2 * sizeof(std::int64_t)));
    }
    VSS_TRY(list_codes(kind, header, all));
    std::string form;
    VSS_TRY(name(form));
    if (form == "il00" && header.size == 0) {
        out = std::make_unique<CodedVectors>(std::move(all.coding), Bytes{});
        return Status::ok();
    }
    if (form != (kind == "IwPf" ? "ilbl" : "ilar")) {
        return not_known(cat("whose lists are kept as ", form));
    }
    VSS_TRY(kind == "IwPf" ? block_lists(header, all) : array_lists(header, all));
    if (all.ids.size() != header.size) {
        return damaged(cat("expected ", header.size, " vectors in its lists, got ", all.ids.size()));
    }
    if (all.is_residual && header.size > 0 && (centroids->dim() != header.dim || centroids->size() != all.count)) {
        return damaged("the centroids of its lists");
    }
    out = std::make_unique<ListedVectors>(std::move(all.coding), std::move(all.parts),
                                          all.is_residual ? std::move(centroids) : nullptr);
    out->ids_ = std::move(all.ids);
    return Status::ok();
}

// The graph says nothing of the vectors.
Status FaissReader::skip_graph(std::size_t size) {
    VSS_TRY(skip_items(sizeof(double)));
    VSS_TRY(skip_items(sizeof(std::int32_t)));
    std::size_t levels = 0;
    Bytes bytes;
    VSS_TRY(items(sizeof(std::int32_t), levels, bytes));
    if (levels != size) {
        return damaged(cat("its graph has ", levels, " nodes for ", size, " vectors"));
    }
    VSS_TRY(skip_items(sizeof(std::uint64_t)));
    VSS_TRY(skip_items(sizeof(std::int32_t)));
    std::array<std::int32_t, 5> settings{};
    return numbers(settings);
}

Status FaissReader::transform(Transform& out) {
    std::string kind;
    VSS_TRY(name(kind));
    if (kind == "rrot" || kind == "PcAm" || kind == "Pcam" || kind == "LTra" || kind == "Viqm") {
        out.is_linear = true;
        if (kind == "PcAm" || kind == "Pcam") {
            float power = 0;
            float epsilon = 0;
            std::uint8_t rotated = 0;
            std::int32_t bins = 0;
            VSS_TRY(number(power));
            if (kind == "Pcam") {
                VSS_TRY(number(epsilon));
            }
            VSS_TRY(numbers(rotated, bins));
            VSS_TRY(skip_items(sizeof(float)));
            VSS_TRY(skip_items(sizeof(float)));
            VSS_TRY(skip_items(sizeof(float)));
        } else if (kind == "Viqm") {
            std::array<std::int32_t, 2> settings{};
            VSS_TRY(number(settings));
        }
        std::uint8_t has_bias = 0;
        VSS_TRY(number(has_bias));
        std::size_t count = 0;
        VSS_TRY(items(sizeof(float), count, out.matrix));
        VSS_TRY(items(sizeof(float), count, out.bias));
        if (has_bias == 0) {
            out.bias = {};
        }
    } else if (kind == "VNrm") {
        float norm = 0;
        VSS_TRY(number(norm));
    } else if (kind == "VCnt") {
        std::size_t count = 0;
        VSS_TRY(items(sizeof(float), count, out.center));
    } else {
        return not_known(cat("behind the transform ", kind));
    }
    std::int32_t in = 0;
    std::int32_t to = 0;
    std::uint8_t is_trained = 0;
    VSS_TRY(numbers(in, to, is_trained));
    const auto is_dim = [](std::int32_t dim) { return dim > 0 && static_cast<std::size_t>(dim) <= max_dimensions; };
    if (!is_dim(in) || !is_dim(to)) {
        return damaged(cat("a transform from ", in, " to ", to, " dimensions"));
    }
    out.in = static_cast<std::size_t>(in);
    out.out = static_cast<std::size_t>(to);
    const bool fits = out.is_linear
                          ? is_trained == 0 || (out.matrix.size() == out.in * out.out * sizeof(float) &&
                                                (out.bias.empty() || out.bias.size() == out.out * sizeof(float)))
                          : out.in == out.out && (out.center.empty() || out.center.size() == out.in * sizeof(float));
    return fits ? Status::ok() : damaged("the matrix of a transform");
}

Status FaissReader::transformed(const Header& header, int depth, std::unique_ptr<StoredVectors>& out) {
    std::int32_t count = 0;
    VSS_TRY(number(count));
    if (count < 1 || static_cast<std::size_t>(count) > most_transforms) {
        return damaged(cat(count, " transforms"));
    }
    std::vector<Transform> transforms(static_cast<std::size_t>(count));
    std::size_t dim = header.dim;
    for (Transform& one : transforms) {
        VSS_TRY(transform(one));
        if (one.in != dim) {
            return damaged("transforms that do not follow each other");
        }
        dim = one.out;
    }
    std::unique_ptr<StoredVectors> inner;
    VSS_TRY(index(inner, depth + 1));
    if (inner->dim() != dim || inner->size() != header.size) {
        return damaged("what is behind a transform");
    }
    for (const Transform& one : transforms) {
        if (one.is_linear && header.size > 0 &&
            (one.matrix.size() != one.in * one.out * sizeof(float) || !one.has_orthonormal_rows())) {
            return not_known("behind a transform that cannot be undone");
        }
    }
    out = std::make_unique<TransformedVectors>(std::move(transforms), std::move(inner));
    return Status::ok();
}

Status FaissReader::mapped(const Header& header, int depth, std::unique_ptr<StoredVectors>& out) {
    VSS_TRY(index(out, depth + 1));
    VSS_TRY(matches(*out, header));
    std::size_t count = 0;
    Bytes bytes;
    VSS_TRY(items(sizeof(std::int64_t), count, bytes));
    if (count != header.size) {
        return damaged(cat("expected ", header.size, " row numbers, got ", count));
    }
    std::vector<std::int64_t> ids(count);
    if (count > 0) {
        std::memcpy(ids.data(), bytes.data(), bytes.size());
    }
    if (!out->ids().empty()) {
        // Lists keep positions at which vectors were added. Faiss' IDMap takes a deleted row's number out of its map,
        // but leaves the positions as they were: they are still in the map's order.
        std::vector<std::size_t> order(count);
        std::iota(order.begin(), order.end(), std::size_t{0});
        const std::vector<std::int64_t>& positions = out->ids();
        std::sort(order.begin(), order.end(),
                  [&](std::size_t a, std::size_t b) { return positions[a] < positions[b]; });
        std::vector<std::int64_t> by_list(count);
        for (std::size_t rank = 0; rank < count; ++rank) {
            if (rank > 0 && positions[order[rank]] == positions[order[rank - 1]]) {
                return {Code::unsupported,
                        "rows were added after others had been deleted, and sqlite-vss 0.1.2 mixes up the numbers of "
                        "rows then in an IVF index; which vector belongs to which row is not in the file"};
            }
            by_list[order[rank]] = ids[rank];
        }
        ids = std::move(by_list);
    }
    out->ids_ = std::move(ids);
    return Status::ok();
}

Status FaissReader::index(std::unique_ptr<StoredVectors>& out, int depth) {
    if (depth > deepest) {
        return damaged("it is nested too deeply");
    }
    std::string kind;
    VSS_TRY(name(kind));
    Header header;
    VSS_TRY(this->header(header));
    if (kind == "IxMp" || kind == "IxM2") {
        VSS_TRY(mapped(header, depth, out));
    } else if (kind == "IxF2" || kind == "IxFI" || kind == "IxFl") {
        VSS_TRY(codes(header, std::make_unique<PlainFloats>(header.dim), sizeof(float), out));
    } else if (kind == "IxSQ" || kind == "IxPq") {
        std::unique_ptr<Coding> coding;
        if (kind == "IxSQ") {
            VSS_TRY(scalar_codes(header, coding));
        } else {
            std::unique_ptr<ProductCodes> product;
            VSS_TRY(product_codes(header, product));
            coding = std::move(product);
        }
        VSS_TRY(codes(header, std::move(coding), 1, out));
        if (kind == "IxPq") {
            std::int32_t search_type = 0;
            std::uint8_t signs = 0;
            std::int32_t polysemous = 0;
            VSS_TRY(numbers(search_type, signs, polysemous));
        }
    } else if (kind == "IwFl" || kind == "IwSq" || kind == "IwPQ" || kind == "IwPf") {
        VSS_TRY(lists(kind, header, depth, out));
    } else if (kind == "IPfs") {
        VSS_TRY(fast_scan(header, out));
    } else if (kind == "IHNf" || kind == "IHNs" || kind == "IHNp") {
        VSS_TRY(skip_graph(header.size));
        VSS_TRY(index(out, depth + 1));
        VSS_TRY(matches(*out, header));
    } else if (kind == "IxPT") {
        VSS_TRY(transformed(header, depth, out));
    } else if (kind == "IxRF") {
        // A coarse index first, then the exact one of the same vectors in the same order.
        std::unique_ptr<StoredVectors> coarse;
        VSS_TRY(index(coarse, depth + 1));
        VSS_TRY(index(out, depth + 1));
        VSS_TRY(matches(*out, header));
        float factor = 0;
        VSS_TRY(number(factor));
    } else {
        return not_known(kind_words(kind));
    }
    out->dim_ = header.dim;
    out->size_ = header.size;
    out->metric_ = header.metric;
    return Status::ok();
}

Status read_faiss(std::span<const std::byte> bytes, std::unique_ptr<StoredVectors>& out) {
    FaissReader reader(bytes);
    VSS_TRY(reader.index(out));
    return reader.is_at_end() ? Status::ok() : damaged("there is more behind its end");
}

}  // namespace vss
