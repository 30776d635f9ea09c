"""SysBench: does a model keep to its system message over five turns?"""
