//! What tests share: origins, raw clients, a throwaway CA, process harness, eventually().
