"""Run by Django's own test runner, in memory and on a file; tests/integration/test_django.py starts it."""

import io
import uuid
from unittest import mock

import numpy as np
from django.contrib.auth.models import User
from django.core import checks, serializers
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection, models, transaction
from django.db.models import Avg, Count, F, Q
from django.db.models.functions import Length
from django.forms import modelform_factory
from django.test import TestCase, TransactionTestCase
from django.test.utils import CaptureQueriesContext

import vssnative
from vssnative.integrations.django import (
    CosineDistance,
    EmbeddedIndex,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    VectorField,
    search,
    status,
    sync,
)

from .models import Company, Letter, Manager, Person, Picture, Post


def fill():
    acme, other = Company.objects.create(name="acme"), Company.objects.create(name="other")
    Post.objects.bulk_create(
        Post(title=f"title word{n}", body=f"body {n}", company=acme if n % 2 else other) for n in range(20)
    )
    Letter.objects.bulk_create(Letter(body=f"letter word{n}") for n in range(5))
    for n in range(5):
        Person.objects.create(about=f"walks word{n}")
        Manager.objects.create(about=f"leads word{n}", level=n)
    return sync()


class Searches(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.synced = fill()

    def test_synced_within_the_transaction_of_the_test(self):
        self.assertEqual(self.synced.rows, 40)
        self.assertEqual({one.pending for one in status()}, {0})

    def test_nearest_first(self):
        found = Post.objects.search("title word7")[:3]
        self.assertEqual(len(found), 3)
        self.assertEqual(found[0].title, "title word7")
        self.assertLess(found[0].vss_distance, 0.01)
        self.assertEqual([one.vss_rank for one in found], [1, 2, 3])
        self.assertEqual(found[0].vss_result.column, "the title")

    def test_filters_before_and_behind_hold_k(self):
        for queryset in (
            Post.objects.search("title word8").filter(company__name="acme"),
            Post.objects.filter(company__name="acme").search("title word8"),
            Post.objects.of("acme").search("title word8", k=5),
            Post.objects.search("title word8", k=5).of("acme"),
            Post.objects.exclude(company__name="other").search("title word8"),
        ):
            found = list(queryset[:5])
            self.assertEqual([one.company.name for one in found], ["acme"] * 5)
        self.assertEqual(Post.objects.search("x").filter(pk__in=[]).count(), 0)
        self.assertEqual(list(Post.objects.none().search("x")), [])

    def test_slices_are_pages(self):
        every = list(Post.objects.search("title word7"))
        self.assertEqual(len(every), 20)
        pages = [list(Post.objects.search("title word7")[at : at + 6]) for at in range(0, 24, 6)]
        self.assertEqual([one for page in pages for one in page], every)
        self.assertEqual(Post.objects.search("title word7")[4], every[4])
        self.assertEqual(list(Post.objects.search("title word7", k=5)[3:9]), every[3:5])
        self.assertEqual(Post.objects.search("title word7").first(), every[0])
        self.assertEqual(Post.objects.search("title word7").last(), every[-1])
        self.assertEqual(Post.objects.search("title word7", k=3).get(title="title word7"), every[0])

    def test_one_select_in_one_snapshot(self):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            list(Post.objects.search("title word7").select_related("company")[:5])
        self.assertEqual(len(queries), 1, queries.captured_queries)

    def test_all_else_of_a_queryset(self):
        searching = Post.objects.search("title word7", k=4)
        self.assertEqual(searching.count(), 4)
        self.assertTrue(searching.exists())
        self.assertFalse(searching.filter(title="none").exists())
        rows = searching.values("title", "vss_distance")
        self.assertEqual(rows[0]["title"], "title word7")
        self.assertAlmostEqual(rows[0]["vss_distance"], 0, places=5)
        self.assertEqual(searching.values_list("title", flat=True)[0], "title word7")
        self.assertEqual(
            searching.annotate(long=Length("title"), twice=F("vss_distance") * 2)[1].twice,
            2 * searching[1].vss_distance,
        )
        titles = [one.title for one in searching.order_by("-title")]
        self.assertEqual(titles, sorted(titles, reverse=True))
        self.assertEqual(len(titles), 4)
        self.assertEqual(set(titles), {one.title for one in searching})
        self.assertEqual(searching.aggregate(n=Count("pk"), mean=Avg("vss_distance"))["n"], 4)
        self.assertEqual(Company.objects.filter(post__in=Post.objects.search("title word7", k=1)).count(), 1)
        self.assertEqual(len(list(searching.iterator())), 4)
        self.assertEqual(len(searching.prefetch_related("company")), 4)
        self.assertEqual(len(searching.only("title").defer("body")), 4)
        self.assertEqual(searching.update(body="seen"), 4)
        self.assertEqual(Post.objects.filter(body="seen").count(), 4)
        searching.delete()
        self.assertEqual(Post.objects.count(), 16)
        self.assertIn("title word", repr(Post.objects.search("title word7", k=1).values("title")))

    def test_conditions_beside_filters(self):
        few = Post.objects.filter(title__in=["title word3", "title word5"])
        for where in (few, Q(title__in=["title word3", "title word5"]), few.order_by("title")[:2]):
            self.assertEqual(Post.objects.search("title word7", where=where).count(), 2)
        sql = '"the title" like %s or "the title" like \'%%word5\''
        self.assertEqual(Post.objects.search("x", where=sql, params=["%word3"]).count(), 2)
        self.assertEqual(Post.objects.of("acme").search("x", where="id < ?", params=[5]).count(), 2)
        self.assertEqual(len(search(Post, "title word7", k=20, where=few)), 2)
        self.assertEqual(Post.objects.search("x", where="id < :most", params={"most": 3}).count(), 2)
        with self.assertRaisesRegex(vssnative.QueryError, "expected a queryset of Post, got one of Letter"):
            list(Post.objects.search("x", where=Letter.objects.all()))
        with self.assertRaisesRegex(vssnative.QueryError, "brings its values"):
            list(Post.objects.search("x", where=Q(pk=1), params=[1]))
        with self.assertRaisesRegex(vssnative.QueryError, "not enough arguments"):
            list(Post.objects.search("x", where="id = %s or id = %s", params=[1]))

    def test_a_distance_is_no_filter(self):
        near = Post.objects.search("title word7", max_distance=0.2)
        self.assertEqual([one.title for one in near], ["title word7"])
        for wrong in ({"vss_distance__lt": 0.2}, {"vss_distance__lt": F("id") + 1}, {"vss_rank": 1}):
            with self.assertRaisesRegex(vssnative.QueryError, r"search\(..., max_distance=...\)"):
                list(Post.objects.search("title word7").filter(Q(pk=1) | Q(**wrong)))
        self.assertIn("vssnative_found_distance(N", str(Post.objects.search("title word7").query))
        self.assertIn("blog_post", Post.objects.search("title word7").explain())

    def test_other_searches(self):
        first = Post.objects.get(title="title word7")
        self.assertNotIn(first, Post.objects.search(similar_to=first.pk)[:5])
        self.assertEqual(Post.objects.search(columns=["body"], query="body 7")[0], first)
        for wrong in ({"page": "x"}, {"offset": 3}, {"select": ["title"]}):
            with self.assertRaisesRegex(vssnative.QueryError, "a queryset has no"):
                Post.objects.search("x", **wrong)
        with self.assertRaisesRegex(vssnative.QueryError, "is a search already"):
            Post.objects.search("x").search("y")
        with self.assertRaisesRegex(vssnative.QueryError, "union"):
            list(Post.objects.search("x").union(Post.objects.all()))
        found, others = Post.objects.search("title word7"), Post.objects.filter(body="body 7")
        for combined in (
            lambda: found | others,
            lambda: others | found,
            lambda: others & found,
            lambda: found ^ others,
        ):
            with self.assertRaisesRegex(vssnative.QueryError, "cannot be combined with another queryset"):
                combined()
        self.assertEqual(list(found & others), [first])

    def test_rows_like_an_object(self):
        first = Post.objects.get(title="title word7")
        like_it = list(Post.objects.search(similar_to=first.pk)[:5])
        self.assertEqual(list(Post.objects.search(similar_to=first)[:5]), like_it)
        letter = Letter.objects.first()
        like_it = list(Letter.objects.search(similar_to=letter, name="letters")[:3])
        self.assertEqual(len(like_it), 3)
        self.assertNotIn(letter, like_it)
        for key in (letter.pk, letter.pk.hex):
            self.assertEqual(list(Letter.objects.search(similar_to=key, name="letters")[:3]), like_it)
        leader = Manager.objects.first()
        self.assertEqual(len(Manager.objects.search(similar_to=leader)[:3]), 3)
        with self.assertRaisesRegex(
            vssnative.QueryError, "similar_to: expected a Post or its key, got <Letter"
        ):
            list(Post.objects.search(similar_to=letter))

    def test_keys_and_several_embeddings(self):
        found = Letter.objects.search("letter word3", name="letters")[:2]
        self.assertEqual(found[0].body, "letter word3")
        self.assertIsInstance(found[0].pk, uuid.UUID)
        self.assertEqual(found[0].vss_result.text_rank, 1)
        self.assertEqual(
            Letter.objects.search("letter word3", name="letters_32").filter(pk=found[1].pk).get(), found[1]
        )
        with self.assertRaisesRegex(
            vssnative.MigrationError, "several embeddings .letters, letters_32.; say which"
        ):
            list(Letter.objects.search("x"))
        with self.assertRaisesRegex(
            vssnative.MigrationError, "Company: table blog_company has no embeddings"
        ):
            search(Company, "x")

    def test_inheritance(self):
        self.assertEqual(Person.objects.search("leads word3").count(), 10)
        leaders = Manager.objects.search("walks word3")
        self.assertEqual(len(leaders), 5)
        self.assertEqual({type(one) for one in leaders}, {Manager})
        self.assertEqual(leaders[0].vss_result.rank, 1)
        self.assertEqual(
            [one.level for one in Manager.objects.search("leads word3").filter(level__gt=3)], [4]
        )

    def test_changes_of_the_transaction_are_seen(self):
        post = Post.objects.get(title="title word7")
        with transaction.atomic():
            Post.objects.filter(pk=post.pk).update(title="other")
            self.assertTrue(Post.objects.search("title word7")[0].vss_result.stale)
            transaction.set_rollback(True)
        post.delete()
        self.assertNotEqual(Post.objects.search("title word7")[0].title, "title word7")
        Post.objects.create(title="zebra")
        self.assertEqual(sync(Post).rows, 2)
        self.assertEqual(Post.objects.search("zebra")[0].title, "zebra")

    def test_admin(self):
        self.client.force_login(User.objects.create_superuser("root"))
        page = self.client.get("/admin/blog/post/", {"q": "title word7"})
        self.assertEqual(page.status_code, 200)
        listed = [one.title for one in page.context["cl"].result_list]
        self.assertEqual((listed[0], len(listed)), ("title word7", 20))
        some = self.client.get(
            "/admin/blog/post/",
            {"q": "title word7", "company__id__exact": Company.objects.get(name="other").pk},
        )
        self.assertEqual({one.company.name for one in some.context["cl"].result_list}, {"other"})
        self.assertEqual(self.client.get("/admin/blog/post/", {"q": " "}).context["cl"].result_count, 20)
        self.assertEqual(self.client.get("/admin/blog/picture/add/").status_code, 200)
        done = self.client.post("/admin/blog/picture/add/", {"vector": "[1, 2, 3]", "other": ""})
        self.assertEqual(done.status_code, 302)
        self.assertEqual(Picture.objects.get().vector.tolist(), [1, 2, 3])
        wrong = self.client.post("/admin/blog/picture/add/", {"vector": "[1, 2]"})
        self.assertContains(wrong, "vector: expected 3 numbers, got 2 numbers")

    def test_commands(self):
        Post.objects.create(title="zebra")
        out = io.StringIO()
        call_command("vss_sync", "blog.Post", stdout=out)
        self.assertIn("1 row, ", out.getvalue())
        out = io.StringIO()
        call_command("vss_status", stdout=out)
        self.assertRegex(out.getvalue(), r"letters_32 +blog_letter +hash:32 +5 +0 +0")
        call_command("vss_sync", "letters", verbosity=0)
        for command in ("vss_sync", "vss_status"):
            with self.assertRaisesRegex(CommandError, "no embeddings on 'nothing'"):
                call_command(command, "nothing")
            with self.assertRaisesRegex(CommandError, "No installed app with label 'no'"):
                call_command(command, "no.Model")


class Vectors(TestCase):
    def test_values(self):
        one = Picture.objects.create(vector=[1, 2, 3], other=np.arange(5))
        one.refresh_from_db()
        self.assertEqual((one.vector.tolist(), one.vector.dtype), ([1, 2, 3], np.float32))
        self.assertEqual(len(one.other), 5)
        self.assertIsNone(Picture.objects.create().vector)
        self.assertEqual(Picture.objects.filter(vector__isnull=True).count(), 1)
        self.assertEqual(Picture.objects.get(vector=[1, 2, 3]), one)
        one.full_clean()
        [copy] = serializers.deserialize("json", serializers.serialize("json", [one]))
        self.assertEqual(copy.object.vector.tolist(), [1, 2, 3])
        one.vector = [1, 2]
        with self.assertRaisesRegex(ValidationError, "vector: expected 3 numbers, got 2 numbers"):
            one.full_clean()
        for wrong, message in (
            ([1, 2], "expected 3 numbers, got 2"),
            ([[1, 2, 3]], "array of shape"),
            ([1, 2, float("inf")], "element 2 is inf"),
            ({"a": 1}, "expected numbers, got dict"),
        ):
            with self.assertRaisesRegex(vssnative.InvalidVectorError, message):
                Picture.objects.create(vector=wrong)

    def test_forms(self):
        form_class = modelform_factory(Picture, fields=["vector"])
        form = form_class({"vector": "[1, 2, 3]"})
        self.assertTrue(form.is_valid(), form.errors)
        saved = form.save()
        self.assertFalse(form_class({"vector": "[1.0, 2.0, 3.0]"}, instance=saved).has_changed())
        self.assertTrue(form_class({"vector": ""}).is_valid())
        self.assertIn("Expected a JSON array", str(form_class({"vector": "[1, 2"}).errors))

    def test_distances(self):
        random = np.random.default_rng(5)
        vectors, query = random.standard_normal((20, 3)).astype("f4"), random.standard_normal(3).astype("f4")
        Picture.objects.bulk_create(
            Picture(pk=n + 1, vector=vector, other=query) for n, vector in enumerate(vectors)
        )
        Picture.objects.create()
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        for kind, wanted in (
            (L2Distance, np.linalg.norm(vectors - query, axis=1)),
            (L1Distance, np.abs(vectors - query).sum(axis=1)),
            (MaxInnerProduct, -(vectors @ query)),
            (CosineDistance, 1 - vectors @ query / norms),
        ):
            there = Picture.objects.annotate(d=kind("vector", query)).filter(d__isnull=False)
            self.assertEqual(
                [one.pk for one in there.order_by("d")[:7]], (np.argsort(wanted)[:7] + 1).tolist()
            )
            np.testing.assert_allclose([one.d for one in there.order_by("pk")], wanted, rtol=1e-4, atol=1e-6)
            self.assertEqual(there.filter(d__lt=float(np.median(wanted))).count(), 10)
            self.assertEqual(
                Picture.objects.order_by(kind("vector", "other").asc(nulls_last=True))[0].pk,
                int(np.argmin(wanted)) + 1,
            )
            self.assertIsNone(Picture.objects.annotate(d=kind("vector", "other")).get(vector=None).d)
        with self.assertRaisesRegex(vssnative.InvalidVectorError, "L2Distance: expected a vector, got None"):
            L2Distance("vector", None)

    def test_declarations_are_checked(self):
        for wrong in ({}, {"fields": ["a"], "template": "{a}"}):
            with self.assertRaisesRegex(vssnative.ConfigurationError, "give either fields"):
                EmbeddedIndex(**wrong)
        with self.assertRaisesRegex(vssnative.ConfigurationError, "give its name"):
            EmbeddedIndex(fields=["a"], model=len)
        [error] = VectorField(name="v", dimensions=0).check()
        self.assertEqual(error.id, "vssnative.E002")


class Outside(TransactionTestCase):
    """Outside of a transaction: each statement is one."""

    def test_search_and_checks(self):
        def warned():
            return sorted(
                one.id for one in checks.run_checks(databases=["default"]) if one.id.startswith("vssnative")
            )

        self.assertEqual(warned(), [])
        Post.objects.create(title="zebra")
        self.assertEqual(warned(), ["vssnative.W004"])
        self.assertEqual(sync().rows, 1)
        self.assertEqual(warned(), [])
        self.assertEqual(Post.objects.search("zebra", fresh=True)[0].title, "zebra")
        vssnative.drop_embeddings(connection, "blog_post")
        self.assertEqual(warned(), ["vssnative.W002"])
        with connection.schema_editor() as editor:
            editor.add_index(Post, Post._meta.indexes[0])
        self.assertEqual(sync().rows, 1)
        Post.objects.all().delete()
        sync()

    def test_checks_of_what_is_wrong(self):
        def found():
            every = checks.run_checks(databases=["default"])
            return {one.id: f"{one.msg} {one.hint}" for one in every if one.id.startswith("vssnative")}

        refused = vssnative.ExtensionLoadError("no loader here")
        with mock.patch("vssnative.integrations.django.checks.load", side_effect=refused):
            self.assertIn("no loader here Run `vssnative doctor`", found()["vssnative.E001"])
        with mock.patch.object(connection, "vendor", "postgresql"):
            self.assertIn("'default' is postgresql", found()["vssnative.W001"])
        with connection.cursor() as cursor:
            cursor.execute("select name from sqlite_master where type = 'trigger' and tbl_name = 'blog_post'")
            for (name,) in cursor.fetchall():
                cursor.execute(f'drop trigger "{name}"')
        self.assertIn("triggers are missing", found()["vssnative.W003"])
        sync()
        self.assertEqual(found(), {})

    def test_the_schema_editor_keeps_triggers(self):
        def triggers():
            with connection.cursor() as cursor:
                cursor.execute("select name from sqlite_master where type = 'trigger' order by name")
                return [row[0] for row in cursor.fetchall()]

        before = triggers()
        old = Post._meta.get_field("body")
        new = models.TextField(null=True)
        new.set_attributes_from_name("body")
        new.model = Post
        with connection.schema_editor() as editor:
            editor.alter_field(Post, old, new)
        self.assertEqual(triggers(), before)
        with connection.schema_editor() as editor:
            editor.alter_field(Post, new, old)
            editor.alter_db_table(Post, "blog_post", "blog_article")
        self.assertEqual(len(triggers()), len(before))
        with connection.schema_editor() as editor:
            editor.alter_db_table(Post, "blog_article", "blog_post")
        self.assertEqual(triggers(), before)
        self.assertIsNone(status(Post)[0].problem)
        self.assertEqual(status(Post)[0].pending, 0)
