from django.contrib import admin

from vssnative.integrations.django.admin import SearchAdmin

from .models import Picture, Post


@admin.register(Post)
class PostAdmin(SearchAdmin, admin.ModelAdmin):
    list_display = ["title", "company"]
    list_filter = ["company"]


admin.site.register(Picture)
