"""Word problems, school questions and plain text by language: does an ability cross them (see README.md)?"""
