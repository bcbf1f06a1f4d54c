#include "index/flat/flat_kind.h"

#include "index/exact_search.h"

namespace vss {
namespace {

class FlatIndex final : public ColumnIndex {
  public:
    explicit FlatIndex(VectorStore& store) : store_(store) {}

    Status search(const SearchRequest& request, SearchAnswer& answer) override {
        answer = {};
        return exact_search(store_, request, answer.neighbors);
    }
    void explain(Json& json) override { json.add_text("plan", "exact: every vector is measured"); }
    Status is_exact(bool& out) override {
        out = true;
        return Status::ok();
    }
    Status count(std::uint64_t& out) override { return store_.count(out); }
    Status stats(Json& json) override {
        json.add_text("search", "exact");
        return Status::ok();
    }

  private:
    VectorStore& store_;
};

class FlatKind final : public IndexKind {
  public:
    [[nodiscard]] std::string_view name() const override { return "flat"; }
    [[nodiscard]] std::string_view words() const override { return "always exact"; }
    [[nodiscard]] int format() const override { return 2; }
    [[nodiscard]] std::span<const std::string_view> tables() const override { return {}; }
    [[nodiscard]] bool supports(const Column& /*column*/) const override { return true; }
    Status create_tables(const TableName& /*name*/, std::size_t /*c*/, bool /*where_missing*/) const override {
        return Status::ok();
    }
    [[nodiscard]] std::unique_ptr<ColumnIndex> make(const IndexContext& context) const override {
        return std::make_unique<FlatIndex>(context.store);
    }
};

}  // namespace

const IndexKind& flat_kind() {
    static const FlatKind kind;
    return kind;
}

}  // namespace vss
