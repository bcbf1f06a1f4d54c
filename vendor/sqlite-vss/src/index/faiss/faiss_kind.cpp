#include "index/faiss/faiss_kind.h"

#include <array>

#include "base/text.h"
#include "index/faiss/faiss_index.h"

namespace vss {
namespace {

constexpr std::array<std::string_view, 1> faiss_tables = {"faiss"};

class FaissKind final : public IndexKind {
  public:
    [[nodiscard]] std::string_view name() const override { return "faiss"; }
    [[nodiscard]] std::string_view words() const override { return "what factory= says"; }
    [[nodiscard]] int format() const override { return 3; }
    [[nodiscard]] std::span<const std::string_view> tables() const override { return faiss_tables; }
    [[nodiscard]] bool supports(const Column& column) const override {
        return !column.factory.empty() && column.type != ElementType::bit &&
               (column.metric == Metric::l2 || column.metric == Metric::inner_product ||
                column.metric == Metric::cosine || column.metric == Metric::l1);
    }
    [[nodiscard]] bool is_declared(const Column& column) const override { return supports(column); }
    Status check_new(const Column& column, const std::string& words) const override {
        std::unique_ptr<FaissEngine> engine;
        const Status status = FaissEngine::make(column.factory, column.dim, column.metric, engine);
        return status.is_ok() || status.code() == Code::no_memory
                   ? status
                   : Status::invalid(cat(words, ", factory \"", column.factory, "\": ", status.message()));
    }
    Status create_tables(const TableName& name, std::size_t c, bool where_missing) const override {
        return FaissTables::create_tables(name, c, where_missing);
    }
    Status write_settings(ConfigWriter& config, std::size_t c) const override {
        // Older tables have a factory in their declaration that nothing was made of.
        return config.put(config_keys::index, c, name());
    }
    [[nodiscard]] std::unique_ptr<ColumnIndex> make(const IndexContext& context) const override {
        return std::make_unique<FaissIndex>(context);
    }
};

}  // namespace

const IndexKind& faiss_kind() {
    static const FaissKind kind;
    return kind;
}

}  // namespace vss
