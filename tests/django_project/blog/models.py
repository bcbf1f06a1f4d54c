import uuid

from django.db import models

from vssnative.integrations.django import EmbeddedIndex, SearchManager, SearchQuerySet, VectorField

MODEL = "hash:64"


class Company(models.Model):
    name = models.CharField(max_length=20)


class PostQuerySet(SearchQuerySet):
    def of(self, name):
        return self.filter(company__name=name)


class Post(models.Model):
    title = models.CharField(max_length=100, db_column="the title")
    body = models.TextField(default="")
    company = models.ForeignKey(Company, models.CASCADE, null=True)
    objects = PostQuerySet.as_manager()

    class Meta:
        indexes = [EmbeddedIndex(fields=["title", "body"], model=MODEL)]


class Letter(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    body = models.TextField()
    objects = SearchManager()

    class Meta:
        indexes = [
            EmbeddedIndex(template="{{}} {body}", model=MODEL, name="letters", full_text=True),
            EmbeddedIndex(fields=["body"], model="hash:32", name="letters_32"),
        ]


class Person(models.Model):
    about = models.TextField()
    objects = SearchManager()

    class Meta:
        indexes = [EmbeddedIndex(fields=["about"], model=MODEL)]


class Manager(Person):
    level = models.IntegerField()


class Picture(models.Model):
    path = models.CharField(max_length=20, blank=True)
    vector = VectorField(dimensions=3, null=True, blank=True)
    other = VectorField(null=True, blank=True)
