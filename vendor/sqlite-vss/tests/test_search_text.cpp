#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "sqlite/search_text.h"
#include "sqlite/sql_tokens.h"

using vss::searches_in;
using vss::WrittenCondition;
using vss::WrittenSearch;

namespace {

const vss::TableWords words{
    "main", "t", {"a", "b"}, {"kind", "year", "two words", "distance", "k", "recall"}, {"kind", "year", "two words"},
    "id"};

std::vector<WrittenSearch> read(const std::string& sql) {
    return searches_in(sql, words);
}

std::vector<std::string> own(const WrittenSearch& search) {
    std::vector<std::string> out;
    for (const WrittenCondition& condition : search.conditions) {
        if (condition.is_own) {
            out.push_back(condition.text);
        }
    }
    return out;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("a search and its own conditions") {
    const auto found = read(
        "select rowid /* where */ from main.\"t\" -- match\n"
        " where a match ?1 and k = 10 and (kind = 'it''s' and year between 1 and 2) and (year = 1 or kind is null)");
    REQUIRE(found.size() == 1);
    CHECK(found[0].alias == "t");
    CHECK(found[0].column == "a");
    CHECK(found[0].has_k);
    CHECK_FALSE(found[0].has_limit);
    CHECK(own(found[0]) == Texts{"kind = 'it''s'", "year between 1 and 2", "year = 1 or kind is null"});
    CHECK(found[0].conditions[1].has_between);
}

TEST_CASE("a condition over the table's own rows") {
    const auto inside = [](const std::string& condition) {
        const auto found = read("select 1 from t x where x.a match ? and k = ? and " + condition);
        std::string out;
        for (const std::string& piece : found.at(0).conditions.at(0).pieces) {
            out += piece + "|";
        }
        return out;
    };
    CHECK(inside("(kind = ? or x.\"two words\" is not :w)") == "\"kind\" =|or \"two words\" is not||");
    CHECK(inside("not length(kind collate nocase) in (1, ?)") == "not length ( \"kind\" collate nocase ) in ( 1 ,|)|");
    CHECK(inside("cast(year as varchar) || 'a' = 'b'") == "cast ( \"year\" as varchar ) || 'a' = 'b'|");
    CHECK(inside("(id + rowid > 2 and true or x.oid = 1)") == "_rowid + _rowid > 2 and true or _rowid = 1|");
    for (const char* condition :
         {"random() < year", "year in (select 1)", "year in u", "exists (select 1)", "a is not ?", "distance + 1 > 2",
          "p.year = year", "unknown = year", "kind regexp 'a'"}) {
        CHECK_MESSAGE(inside(condition).empty(), condition);
    }
    CHECK(read("select ? from t where a match ? and k = ? and not year = ?").at(0).conditions.at(0).parameters ==
          std::vector<std::size_t>{3});
}

TEST_CASE("values of parameters as SQLite writes them out") {
    using Values = std::optional<std::vector<std::string>>;
    CHECK(vss::parameter_values("select ?, :a -- ?\n, '?', $b, ?9 from t",
                                "select -5, 'it''s ?' -- ?\n, '?', NULL, x'00ff' from t") ==
          Values({"-5", "'it''s ?'", "NULL", "x'00ff'"}));
    CHECK(vss::parameter_values("select ?, ?, ?", "select 0.5, zeroblob(3), -1e300") == Values({"", "", ""}));
    CHECK_FALSE(vss::parameter_values("select ?", "select 'abc'/*+5 bytes*/"));
    CHECK_FALSE(vss::parameter_values("select ?, 1", "select 1"));
    CHECK_FALSE(vss::parameter_values("select ?", "-- select ?"));
}

TEST_CASE("no search of this table") {
    CHECK(read("select 1").empty());
    CHECK(read("select * from t where kind = 'match'").empty());
    CHECK(read("select * from u where a match ? and k = 1").empty());
    CHECK(read("select * from other.t where a match ? and k = 1").empty());
    CHECK(read("select * from t where kind match ? and k = 1").empty());
    CHECK(read("select (from t where a match ?").empty());
    CHECK(read("select ')' from t where a match ? and k = 1").size() == 1);
}

TEST_CASE("which conditions speak of which table") {
    const auto found = read(
        "with x(n) as (select 1) select * from posts p join t as d on d.rowid = p.id and d.kind = 'a'"
        " left join tags g on g.post = p.id and g.name = 'b'"
        " where d.a match :query and d.k = $k and p.draft = 0 and d.year in (select y from x) and d.\"two words\" <> "
        "p.w");
    REQUIRE(found.size() == 1);
    CHECK(own(found[0]) == Texts{"d.year in (select y from x)", "d.kind = 'a'"});
    CHECK(found[0].drops == Texts{"p.draft = 0"});
    REQUIRE(found[0].conditions.size() == 4);
    CHECK(found[0].conditions[1].probe == "d . \"two words\" <> ?");
    CHECK(found[0].conditions[0].has_list);
    CHECK_FALSE(found[0].conditions[0].is_plain_value);
    CHECK(found[0].conditions[3].is_plain_value);
}

TEST_CASE("a table that drives the search gives constants") {
    const auto found = read("select * from p join t on t.a match p.v and t.k = 3 and t.year = p.year where p.id > 5");
    REQUIRE(found.size() == 1);
    CHECK(own(found[0]) == Texts{"p.id > 5", "t.year = p.year"});
    CHECK(found[0].drops.empty());
}

TEST_CASE("on the optional side of a join, WHERE is about the join's rows") {
    const auto found = read(
        "select * from p left join t on t.rowid = p.id and t.a match ? and t.k = 3"
        " where t.kind = 'a' and p.draft = 0");
    REQUIRE(found.size() == 1);
    CHECK(own(found[0]).empty());
    CHECK(found[0].drops.empty());
    CHECK(read("select * from p right join t on t.rowid = p.id where t.a match ? and k = 3").empty());
}

TEST_CASE("an OR of searches is several searches") {
    const auto found = read("select * from t where (a match ? and year = 1 or b match ?) and k = 2 and kind = 'a'");
    REQUIRE(found.size() == 2);
    CHECK(found[0].column == "a");
    CHECK(own(found[0]) == Texts{"year = 1", "kind = 'a'"});
    CHECK(found[1].column == "b");
    CHECK(own(found[1]) == Texts{"kind = 'a'"});
}

TEST_CASE("every place where a search can stand") {
    CHECK(read("delete from t where a match ? and k = 3 and year = 1").size() == 1);
    CHECK(read("update or ignore t as x set kind = 'b' where x.a match ? and x.k = 3")[0].alias == "x");
    CHECK(read("update p set n = 1 from t where t.a match ? and t.k = 3 and t.rowid = p.id").size() == 1);
    CHECK(
        read("insert into p select rowid from t where vss_search(a, vss_search_params(?, 3)) on conflict do nothing")[0]
            .by_function);
    CHECK(read("create view v as select rowid from t where a match ? and k = 3").size() == 1);
    CHECK(read("select (select max(distance) from t where a match ? and k = 3), 2 from p where k = 1").size() == 1);
    CHECK(read("select * from (p join (t join q on q.id = t.rowid) using (id)) where t.a match ? and t.k = 3").size() ==
          1);
}

TEST_CASE("whether a LIMIT ends the reading") {
    const auto has_limit = [](const std::string& sql) { return read(sql).at(0).has_limit; };
    CHECK(has_limit("select rowid from t where a match ? order by distance limit 10"));
    CHECK(has_limit("select * from (select rowid from t where a match ? and year > 1) order by 1 limit ?"));
    CHECK(has_limit("with h as (select rowid from t where a match ?) select * from h limit 5"));
    CHECK_FALSE(has_limit("select rowid from t where a match ? order by distance"));
    CHECK_FALSE(has_limit("select * from p where id in (select rowid from t where a match ?) limit 5"));
    CHECK_FALSE(has_limit("select count(*) from t where a match ? limit 5"));
    CHECK_FALSE(has_limit("select row_number() over (order by distance) from t where a match ? limit 5"));
    CHECK_FALSE(has_limit("select (select 1 limit 1) from t where a match ?"));
}
